// Tests of jwtauth.mjs with a clock, a network and tabs that the tests control.
import assert from "node:assert/strict";
import test from "node:test";
import { Auth, AuthError } from "./jwtauth.mjs";
import { World, settle, REFRESH, LOGIN, LOGOUT, loggedIn, heldRefresh } from "./testworld.mjs";

test("a page starts unknown, and the first answer decides", async () => {
	for (const [answer, state, reason] of [
		[{ status: 400, body: { error: "invalid_grant" } }, "out", "none"],
		[{ status: 400, body: "<html>Request Header Or Cookie Too Large" }, "unknown", "unavailable"],
		[{ status: 400, body: { error: "invalid_request" } }, "unknown", "unavailable"],
		[{ status: 503 }, "unknown", "unavailable"],
		[{ status: 403 }, "unknown", "unavailable"],
		[{ status: 500 }, "unknown", "unavailable"],
		[{ status: 200, body: "<html>" }, "unknown", "unavailable"],
		[{ status: 200, body: "null" }, "unknown", "unavailable"],
		[{ status: 200, body: {} }, "unknown", "unavailable"],
		[{ status: 200, body: { access_token: 7, expires_in: 900 } }, "unknown", "unavailable"],
		[{ status: 200, body: { access_token: "a.b.c", expires_in: -1 } }, "unknown", "unavailable"],
		[{ status: 200, body: { access_token: "a.b.c", expires_in: "x" } }, "unknown", "unavailable"],
	]) {
		const w = new World();
		w.server = () => answer;
		const auth = w.tab();
		assert.equal(auth.state, "unknown");
		await settle();
		assert.deepEqual([auth.state, auth.reason], [state, reason], JSON.stringify(answer));
		if (state === "unknown") {
			w.server = loggedIn(w);
			await w.pass(1000);
			assert.equal(auth.state, "in", "it tries again by itself");
		}
	}
});

test("every request to the handlers has the header and the cookie, and keepalive only if it must outlive the page", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	await auth.login({ username: "alice", password: "x" });
	await auth.logout();
	assert.deepEqual(w.requests.map((r) => [r.path, r.init.keepalive]), [[REFRESH, false], [LOGIN, false], [LOGOUT, true]]);
	for (const r of w.requests) {
		assert.equal(r.method, "POST");
		assert.equal(r.headers.get("X-CSRF"), "1");
		assert.deepEqual([r.init.credentials, r.init.cache], ["include", "no-store"]);
	}
	assert.equal(w.requests[1].headers.get("Content-Type"), "application/json");
});

test("a token is replaced before it expires, once", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const first = await auth.token();
	await w.pass(800_000);
	assert.equal(await auth.token(), first);
	await w.pass(60_000);
	assert.notEqual(await auth.token(), first);
	assert.equal(w.count(REFRESH), 2);
	await w.pass(24 * 3600_000);
	assert.ok(w.count(REFRESH) <= 2 + (24 * 3600) / 800, `${w.count(REFRESH)} refreshes in a day`);
});

test("a token that lives for seconds is not replaced all the time", async () => {
	const w = new World();
	w.server = loggedIn(w, 3);
	const auth = w.tab();
	await w.pass(12_000);
	assert.equal(auth.state, "in");
	assert.ok(w.count(REFRESH) <= 7, `${w.count(REFRESH)} refreshes`);
});

test("calls at the same time share one refresh", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	w.time += 3600_000;
	const tokens = await Promise.all(Array.from({ length: 20 }, () => auth.token()));
	assert.equal(new Set(tokens).size, 1);
	assert.equal(w.count(REFRESH), 2);
});

test("tabs share one refresh, also if they begin at the same time", async () => {
	const w = new World();
	w.server = async (path) => {
		await new Promise((done) => setImmediate(done));
		return loggedIn(w)(path);
	};
	const tabs = Array.from({ length: 6 }, () => w.tab());
	await settle();
	assert.equal(w.count(REFRESH), 1);
	for (let n = 0; n < 10; n++) {
		await w.pass(600_000);
		for (const tab of tabs) assert.equal(await tab.token(), await tabs[0].token());
	}
	assert.ok(w.count(REFRESH) <= 9, `${w.count(REFRESH)} refreshes`);
});

test("without locks and channels every tab asks the server, and none is logged out", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const tabs = Array.from({ length: 6 }, () => w.tab({}, { locks: false, channel: false }));
	await w.pass(3600_000);
	for (const tab of tabs) assert.equal(tab.state, "in");
});

test("a lock that another tab holds for ever delays a refresh by 3 seconds", async () => {
	const w = new World();
	w.server = loggedIn(w);
	w.held.set("jwtauth /auth", new Promise(() => {}));
	const auth = w.tab();
	await w.pass(2_900);
	assert.equal(w.count(REFRESH), 0);
	await w.pass(200);
	assert.equal(auth.state, "in");
});

test("503 and no network keep the state, and the next try waits longer each time", async () => {
	for (const fail of [() => ({ status: 503 }), () => { throw new TypeError("Failed to fetch"); }]) {
		const w = new World();
		w.server = loggedIn(w);
		const auth = w.tab();
		await settle();
		w.server = (path) => (path === REFRESH ? fail() : {});
		await w.pass(3600_000);
		assert.deepEqual([auth.state, auth.reason], ["in", "unavailable"]);
		const failed = w.count(REFRESH) - 1;
		assert.ok(failed > 5 && failed < 70, `${failed} tries in an hour`);
		await assert.rejects(auth.token(), (e) => e instanceof AuthError && e.kind === "unavailable" && e.retryAfter >= 1);
		w.server = loggedIn(w);
		await w.pass(90_000);
		assert.equal(auth.reason, "refresh");
		assert.ok(await auth.token());
	}
});

test("a good token is used while the server gives no answer", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const token = await auth.token();
	w.server = (path) => (path === REFRESH ? { status: 503 } : {});
	await w.pass(880_000);
	assert.equal(await auth.token(), token);
	await w.pass(30_000);
	await assert.rejects(auth.token(), { kind: "unavailable" });
});

test("a refresh that got no answer is tried again, also if the old token is still good", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	w.server = () => ({ status: 503 });
	await assert.rejects(auth.token({ fresh: await auth.token() }), { kind: "unavailable" });
	assert.equal(auth.reason, "unavailable");
	w.server = loggedIn(w);
	await w.pass(1000);
	assert.deepEqual([auth.state, auth.reason], ["in", "refresh"]);
});

test("Retry-After is the least pause", async () => {
	const w = new World();
	w.server = () => ({ status: 503, headers: { "Retry-After": "30" } });
	const auth = w.tab();
	await w.pass(29_000);
	assert.equal(w.count(REFRESH), 1);
	await assert.rejects(auth.token(), (e) => e.kind === "unavailable" && e.retryAfter <= 30);
	assert.equal(w.count(REFRESH), 1, "a call does not shorten the pause");
	await w.pass(2_000);
	assert.equal(w.count(REFRESH), 2);
});

test("a refused refresh ends the login in all tabs of the session, and another 400 does not", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const one = w.tab(), two = w.tab();
	await settle();
	for (const body of ["<html>", "", { error: "invalid_request" }, { error: ["invalid_grant"] }]) {
		w.server = () => ({ status: 400, body });
		await assert.rejects(one.token({ fresh: await one.token() }), { kind: "unavailable" });
		assert.equal(one.state, "in");
		await w.pass(10_000);
	}
	w.server = loggedIn(w);
	await w.pass(60_000);
	w.server = () => ({ status: 400, body: { error: "invalid_grant" } });
	await assert.rejects(one.token({ fresh: await one.token() }), { kind: "out" });
	await settle();
	assert.deepEqual([one.state, one.reason, two.state, two.reason], ["out", "ended", "out", "ended"]);
	const before = w.requests.length;
	await assert.rejects(one.token(), { kind: "out" });
	assert.equal(w.requests.length, before);
});

test("a logout ends the login in all tabs", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const one = w.tab(), two = w.tab();
	await settle();
	await one.logout();
	await settle();
	assert.deepEqual([one.state, one.reason, two.state, two.reason], ["out", "logout", "out", "logout"]);
});

test("a logout without an answer fails, and the user is still logged in", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	w.server = (path) => (path === LOGOUT ? { status: 503 } : {});
	const logout = assert.rejects(auth.logout(), { kind: "unavailable" });
	await w.pass(10_000);
	await logout;
	assert.equal(auth.state, "in");
	assert.equal(w.count(LOGOUT), 3);
	w.server = loggedIn(w);
	await auth.logout();
	assert.equal(auth.state, "out");
});

test("an answer that comes after a logout logs nobody in", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const one = w.tab(), two = w.tab();
	await settle();
	const { finish } = heldRefresh(w);
	const token = one.token({ fresh: await one.token() }).catch((e) => e);
	await settle();
	await two.logout();
	await settle();
	finish();
	assert.equal((await token).kind, "out");
	assert.deepEqual([one.state, two.state], ["out", "out"]);
});

test("an answer that comes after another login changes nothing", async () => {
	for (const inTheSameTab of [true, false]) {
		const w = new World();
		w.server = loggedIn(w);
		const one = w.tab(), two = w.tab();
		await settle();
		const { finish, late } = heldRefresh(w);
		const token = one.token({ fresh: await one.token() }).catch((e) => e);
		await settle();
		w.session = "s2";
		await (inTheSameTab ? one : two).login({ username: "bob" });
		await settle();
		finish();
		await token;
		await settle();
		for (const tab of [one, two]) assert.notEqual(await tab.token(), late.access_token);
		assert.equal(await one.token(), await two.token());
	}
});

test("a message about another session is ignored", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const token = await auth.token();
	const [channel] = w.channels;
	channel.onmessage({ data: { type: "out", reason: "logout", session: "other" } });
	channel.onmessage({ data: { type: "out", reason: "ended", session: null } });
	channel.onmessage({ data: { type: "tokens", tokens: w.tokens(900, "other") } });
	for (const data of [null, 7, "x", {}, { type: "login" }, { type: "login", tokens: { access_token: "" } }]) channel.onmessage({ data });
	assert.deepEqual([auth.state, await auth.token()], ["in", token]);
	channel.onmessage({ data: { type: "login", tokens: w.tokens(900, "other") } });
	assert.equal(auth.reason, "other-tab");
});

test("a login is refused, or gets no answer, and changes nothing", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const token = await auth.token();
	for (const [answer, want] of [
		[{ status: 401, body: { error: "invalid_credentials", error_description: "the name or the password is wrong" } }, { kind: "refused", code: "invalid_credentials", status: 401 }],
		[{ status: 429, body: { error: "too_many_attempts" }, headers: { "Retry-After": "60" } }, { kind: "refused", code: "too_many_attempts", retryAfter: 60 }],
		[{ status: 503, headers: { "Retry-After": "1" } }, { kind: "unavailable", retryAfter: 1 }],
		[{ status: 200, body: "garbage" }, { kind: "unavailable" }],
	]) {
		w.server = () => answer;
		await assert.rejects(auth.login({ username: "alice", password: "x" }), want);
	}
	w.server = () => { throw new TypeError("Failed to fetch"); };
	await assert.rejects(auth.login({}), { kind: "unavailable" });
	w.server = loggedIn(w);
	assert.equal(await auth.token(), token);
});

test("a refresh that hangs is given up, at first after 5 seconds, also if only its body is missing", async () => {
	for (const answer of [
		() => new Promise(() => {}),
		(path, { init }) => ({ body: new ReadableStream({ start(c) { init.signal.addEventListener("abort", () => c.error(init.signal.reason)); } }) }),
	]) {
		const w = new World();
		w.server = answer;
		w.tab();
		await w.pass(120_000);
		const times = w.requests.map((r) => r.time - 1_000_000);
		const waits = times.slice(1).map((t, n) => t - times[n] - 562.5 * 2 ** n); // without the pauses
		assert.deepEqual(waits.slice(0, 4), [5000, 10_000, 20_000, 20_000]);
	}
});

test("a login and a logout that hang are given up after 20 seconds", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	w.server = () => new Promise(() => {});
	const failed = [assert.rejects(auth.login({}), { kind: "unavailable" }), assert.rejects(auth.logout(), { kind: "unavailable" })];
	await w.pass(62_000);
	await Promise.all(failed);
});

test("fetch sends the token, and tries once more if the token was refused", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const first = await auth.token();
	const refused = { status: 401, headers: { "WWW-Authenticate": 'Bearer error="invalid_token"' } };
	w.server = (path, r) => (path !== "/api" ? loggedIn(w)(path) : r.token === `Bearer ${first}` ? refused : { body: { ok: true } });
	assert.equal((await auth.fetch("/api", { method: "POST", body: "x", headers: { "X-Own": "1" } })).status, 200);
	assert.equal(w.count("/api"), 2);
	assert.equal(w.requests.at(-1).headers.get("X-Own"), "1");

	w.server = (path) => (path === "/api" ? refused : loggedIn(w)(path));
	assert.equal((await auth.fetch("/api")).status, 401, "only once");
	assert.equal(w.count("/api"), 4);
});

test("fetch gives all other answers to the caller", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	for (const answer of [{ status: 503 }, { status: 403 }, { status: 401 }, { status: 401, headers: { "WWW-Authenticate": "Basic" } }, { status: 500 }]) {
		w.server = (path) => (path === "/api" ? answer : loggedIn(w)(path));
		const before = w.count(REFRESH);
		assert.equal((await auth.fetch("/api")).status, answer.status);
		assert.equal(w.count(REFRESH), before);
	}
	const stream = { status: 401, headers: { "WWW-Authenticate": 'Bearer error="invalid_token"' } };
	w.server = (path) => (path === "/api" ? stream : loggedIn(w)(path));
	const before = w.count("/api");
	assert.equal((await auth.fetch("/api", { method: "POST", body: new ReadableStream(), duplex: "half" })).status, 401);
	assert.equal(w.count("/api"), before + 1, "a stream cannot be sent twice");
});

test("fetch returns the refusal if nothing newer can be had", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	w.server = (path) => (path === "/api" ? { status: 401, headers: { "WWW-Authenticate": 'Bearer error="invalid_token"' } } : { status: 503 });
	assert.equal((await auth.fetch("/api")).status, 401);
	assert.equal(auth.state, "in");
});

test("after sleep, and after the clock was set, no expired token is used", async () => {
	for (const [name, jump] of [
		["sleep that performance.now does not count", (w) => { w.time += 3600_000; w.slept += 3600_000; }],
		["a clock that was set back", (w) => { w.slept -= 3600_000; }],
		["a clock that was set forward", (w) => { w.time += 3600_000; w.slept += 3600_000; }],
	]) {
		const w = new World();
		w.server = loggedIn(w);
		const auth = w.tab();
		await settle();
		const token = await auth.token();
		jump(w);
		assert.notEqual(await auth.token(), token, name);
	}
});

test("a hidden tab refreshes when it is used or shown", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	auth.document.visibilityState = "hidden";
	await w.pass(24 * 3600_000);
	assert.equal(w.count(REFRESH), 1);
	auth.document.visibilityState = "visible";
	auth.document.emit("visibilitychange");
	await settle();
	assert.equal(w.count(REFRESH), 2);
	assert.equal(auth.state, "in");
});

test("a tab that comes back online tries at once, if no pause is left", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	auth.document.visibilityState = "hidden";
	await w.pass(1_000_000);
	auth.document.visibilityState = "visible";
	auth.window.emit("online");
	await settle();
	assert.equal(w.count(REFRESH), 2);
});

test("a page from the back-forward cache asks the server", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab(), other = w.tab();
	await settle();
	auth.window.emit("pagehide");
	await other.logout();
	await settle();
	assert.equal(auth.state, "in", "a frozen page hears nothing");
	w.server = () => ({ status: 400, body: { error: "invalid_grant" } });
	auth.window.emit("pageshow", { persisted: true });
	await settle();
	assert.equal(auth.state, "out");
	auth.window.emit("pageshow", { persisted: false });
	assert.equal(auth.state, "out");
});

test("a disposed object does nothing more", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	auth.dispose();
	await w.pass(24 * 3600_000);
	auth.window.emit("online");
	await settle();
	assert.equal(w.count(REFRESH), 1);
	assert.equal(w.timers.length, 0);
	assert.equal(w.channels.size, 0);
});

test("a WebSocket carries the token as its last protocol", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const token = await auth.token();
	assert.deepEqual((await auth.socket("wss://app.test/s", "chat")).args, ["wss://app.test/s", ["chat", `jwt.bearer.${token}`]]);
	assert.deepEqual((await auth.socket("wss://app.test/s", ["a", "b"])).args[1], ["a", "b", `jwt.bearer.${token}`]);
	for (const protocols of [undefined, []]) await assert.rejects(auth.socket("wss://app.test/s", protocols), /at least one protocol/);
});

test("a stream connects again with a fresh token and the last id", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const encoder = new TextEncoder();
	const bodies = [
		["id: 1\ndata: a\n\nda", "ta: b\r\ndata: c\r\n\r\n", ": comment\n\nevent: x\ndata\n\n"],
		["data: d\rid: 2\r\r", "data:  e\u2028f\n\n", "data: incomplete\n"],
	];
	const stop = new AbortController();
	const answers = [{ status: 503, headers: { "Retry-After": "2" } }, { status: 401, headers: { "WWW-Authenticate": 'Bearer error="invalid_token"' } }];
	w.server = (path) => {
		if (path !== "/events") return loggedIn(w)(path);
		const answer = answers.shift();
		if (answer) return answer;
		const parts = bodies.shift();
		if (!parts) {
			stop.abort();
			return { status: 503 };
		}
		return { body: new ReadableStream({ start(c) { parts.forEach((p) => c.enqueue(encoder.encode(p))); c.close(); } }) };
	};
	const got = [];
	const stream = auth.stream("/events", { onmessage: (e) => got.push(`${e.type} ${e.data} ${e.id}`), signal: stop.signal });
	await w.pass(60_000);
	await stream;
	assert.deepEqual(got, ["message a 1", "message b\nc 1", "x  1", "message d 2", "message  e\u2028f 2"]);
	const events = w.requests.filter((r) => r.path === "/events");
	assert.deepEqual(events.map((r) => r.headers.get("Last-Event-ID")), [null, null, null, "1", "2"]);
	assert.equal(w.count(REFRESH), 2);
});

test("an event of a stream has a limit, and a longer one ends the stream with an error", async () => {
	const limit = 1 << 20;
	for (const [parts, isLonger] of [
		[["data: ", "x".repeat(limit - 6), "\n\n"], false],
		[Array(3).fill(`: ${"x".repeat(limit / 2)}\ndata: y\n\n`), false],
		[[`data: ${"x".repeat(1000)}\n\n`.repeat(2000)], false],
		[["data: ", "x".repeat(limit)], true],
		[[": ", "x".repeat(limit)], true],
		[Array(1100).fill(`data: ${"x".repeat(1000)}\n`), true],
		[Array(1100).fill("data\n".repeat(1000)), true],
		[[`data: ${"x".repeat(limit)}\n\n`], true],
	]) {
		const w = new World();
		w.server = loggedIn(w);
		const auth = w.tab();
		await settle();
		let isCanceled = false;
		const encoder = new TextEncoder(), stop = new AbortController();
		let count = 0;
		w.server = (path) => {
			if (path !== "/events") return loggedIn(w)(path);
			if (count++) stop.abort();
			return { body: new ReadableStream({ pull(c) { parts.length ? c.enqueue(encoder.encode(parts.shift())) : isLonger || c.close(); }, cancel() { isCanceled = true; } }) };
		};
		let events = 0;
		const stream = auth.stream("/events", { onmessage() { events++; }, signal: stop.signal }).then(() => "ended", (e) => e);
		for (let n = 0; n < 200; n++) await w.pass(100);
		if (!isLonger) {
			assert.equal(await stream, "ended");
			assert.ok(events > 0);
			continue;
		}
		const error = await stream;
		assert.ok(error instanceof RangeError, String(error));
		assert.equal(error.message, "Auth.stream: an event has more than 1048576 characters");
		await settle();
		assert.deepEqual([events, isCanceled, count], [0, true, 1]);
	}
});

test("a stream ends if nobody is logged in, or the server wants no more", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	for (const status of [204, 404, 403]) {
		w.server = (path) => (path === "/events" ? { status } : loggedIn(w)(path));
		await auth.stream("/events", { onmessage() {} });
	}
	await auth.logout();
	await assert.rejects(auth.stream("/events", { onmessage() {} }), { kind: "out" });
});

test("wrong options throw one line that teaches", () => {
	for (const [options, message] of [
		[{ refresh: "/x" }, "Auth: there is no option refresh: path and ahead are expected"],
		[{ path: "" }, "Auth: path is : a path such as /auth is expected"],
		[{ path: "auth" }, "Auth: path is auth: a path such as /auth is expected"],
		[{ path: "/auth/" }, "Auth: path is /auth/: a path such as /auth is expected"],
		[{ path: null }, "Auth: path is null: a path such as /auth is expected"],
		[{ ahead: -1 }, "Auth: ahead is -1: 0 to 3600 seconds are expected"],
		[{ ahead: "x" }, "Auth: ahead is x: 0 to 3600 seconds are expected"],
	]) {
		assert.throws(() => new World().tab(options), { name: "TypeError", message });
	}
	for (const tokens of [undefined, null, {}, { access_token: "x" }]) {
		assert.throws(() => new World().tab().adopt(tokens), AuthError);
	}
});

test("the types name every public member, and no other", async () => {
	const { readFile } = await import("node:fs/promises");
	const types = await readFile(new URL("./jwtauth.d.ts", import.meta.url), "utf8");
	for (const [type, prototype, own] of [["Auth", Auth.prototype, []], ["AuthError", AuthError.prototype, ["kind", "status", "code", "retryAfter"]]]) {
		const body = types.slice(types.indexOf(`class ${type} `)).split("\n}")[0];
		const named = [...body.matchAll(/^\t(?:readonly )?(\w+)[(:?]/gm)].map((m) => m[1]);
		assert.deepEqual(named.sort(), [...Object.getOwnPropertyNames(prototype), ...own].sort(), type);
	}
});
