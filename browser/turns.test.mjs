// Tests of how the tabs of one browser take turns, and of answers that are late.
import assert from "node:assert/strict";
import test from "node:test";
import { World, settle, REFRESH, loggedIn, heldRefresh } from "./testworld.mjs";

test("a refresh that hangs ends when another tab has a token, and is no failure", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const one = w.tab({}, { locks: false, storage: false }), two = w.tab({}, { locks: false, storage: false });
	await settle();
	heldRefresh(w);
	const token = one.token({ fresh: await one.token() });
	await w.pass(1);
	w.server = loggedIn(w);
	await two.token({ fresh: await two.token() });
	assert.equal(await token, await two.token());
	assert.ok(w.requests.at(-2).init.signal.aborted);
	assert.ok(!w.requests.at(-1).init.signal.aborted);
	assert.deepEqual([one.reason, two.reason], ["other-tab", "refresh"]);
});

test("a refresh that was sent after another tab had its token goes on", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const auth = w.tab();
	await settle();
	const { finish, late } = heldRefresh(w);
	const token = auth.token({ fresh: await auth.token() });
	await settle();
	const [channel] = w.channels;
	channel.onmessage({ data: { type: "tokens", tokens: w.tokens(), at: w.time } });
	assert.equal(auth.reason, "other-tab");
	assert.ok(!w.requests.at(-1).init.signal.aborted);
	finish();
	assert.equal(await token, late.access_token);
	assert.equal(auth.reason, "refresh");
});

test("a refresh that hangs ends with the session and with a login, in all tabs", async () => {
	for (const end of [(auth) => auth.logout(), (auth) => auth.login({})]) {
		for (const inTheSameTab of [true, false]) {
			const w = new World();
			w.server = loggedIn(w);
			const one = w.tab(), two = w.tab();
			await settle();
			heldRefresh(w);
			one.token({ fresh: await one.token() }).catch(() => {});
			await settle();
			const request = w.requests.at(-1);
			assert.ok(!request.init.signal.aborted);
			await end(inTheSameTab ? one : two);
			await settle();
			assert.ok(request.init.signal.aborted);
			assert.notEqual(one.reason, "unavailable");
		}
	}
});

test("without locks, tabs take turns by entries in localStorage", async () => {
	const w = new World();
	w.server = loggedIn(w);
	const one = w.tab({}, { locks: false, channel: false }), two = w.tab({}, { locks: false, channel: false });
	await w.pass(1000);
	assert.equal(w.count(REFRESH), 2);
	w.storage.setItem("other", "1");
	heldRefresh(w);
	one.token({ fresh: await one.token() }).catch(() => {});
	await settle();
	const second = two.token({ fresh: await two.token() });
	await w.pass(4_900);
	assert.equal(w.count(REFRESH), 3, "it waits");
	w.server = loggedIn(w);
	await w.pass(200);
	assert.equal(w.count(REFRESH), 4);
	assert.ok(w.requests[2].init.signal.aborted);
	assert.equal(await second, await two.token());
	await w.pass(1000);
	assert.deepEqual(Object.keys(w.storage), ["other"]);
});

test("the entry of a tab that has crashed delays other tabs by at most 8 seconds, and wrong entries by nothing", async () => {
	for (const [entry, delay] of [[8_000, 8_000], [-1, 0], [24_000, 0], ["x", 0], ["", 0]]) {
		const w = new World();
		w.server = loggedIn(w);
		w.storage.setItem("jwtauth /auth 0.5", typeof entry === "number" ? w.time + entry : entry);
		w.storage.setItem("jwtauth /authority 0.5", w.time + 8_000);
		w.tab({}, { locks: false });
		await w.pass(Math.max(delay - 100, 0));
		assert.equal(w.count(REFRESH), delay ? 0 : 1);
		await w.pass(200);
		assert.equal(w.count(REFRESH), 1);
		assert.deepEqual(Object.keys(w.storage), ["jwtauth /authority 0.5"]);
	}
});

test("a page that ends during a refresh sends another one that outlives it", async () => {
	for (const persisted of [false, true]) {
		const w = new World();
		w.server = loggedIn(w);
		const auth = w.tab({}, { locks: false });
		await settle();
		auth.window.emit("pagehide", { persisted });
		assert.equal(w.count(REFRESH), 1, "no refresh is under way");
		auth.window.emit("pageshow", { persisted: true });
		await settle();
		heldRefresh(w);
		auth.token({ fresh: await auth.token() }).catch(() => {});
		await settle();
		w.server = loggedIn(w);
		auth.window.emit("pagehide", { persisted });
		await settle();
		assert.deepEqual(w.requests.slice(-2).map((r) => [r.init.signal.aborted, r.init.keepalive]), [[true, false], [false, true]]);
		assert.deepEqual(Object.keys(w.storage), []);
		auth.window.emit("pageshow", { persisted: true });
		await settle();
		assert.deepEqual([auth.state, auth.reason], ["in", "refresh"]);
	}
});

/**
 * A jar with one cookie, and a server with the rule of Issuer.Refresh. Numbers are the generations of tokens. The
 * cookie is read when a request is sent, and written when its answer arrives, unless it was aborted.
 */
class Rotation {
	jar = 0;
	current = 0;
	parent = -1;
	rotated = 0;
	theft = "";
	constructor(w, endsInSleep, delay) { Object.assign(this, { w, endsInSleep, delay }); }

	wait(ms) { return new Promise((f) => this.w.timers.push({ f, at: this.w.time + ms })); }

	async answer(path, request) {
		if (path !== REFRESH) return {};
		const presented = this.jar;
		await this.wait(5);
		const age = this.w.time - this.rotated;
		if (presented === this.current || (presented === this.parent && age > 20_000)) {
			this.current++;
			this.parent = presented;
			this.rotated = this.w.time;
		} else if (presented !== this.parent) {
			this.theft ||= `${presented} was presented, and the session is at ${this.current}`;
			return { status: 400, body: { error: "invalid_grant" } };
		} else if (age > 10_000) {
			return { status: 503, headers: { "Retry-After": "10" } };
		}
		const issued = this.current;
		const { slept } = this.w;
		await this.wait(this.delay());
		if (this.endsInSleep && this.w.slept > slept) throw new TypeError("Failed to fetch");
		if (!request.init.signal.aborted) this.jar = issued;
		return { body: this.w.tokens(60) };
	}
}

test("no late answer makes an honest browser present an old token", async () => {
	for (const features of [{}, { locks: false }, { locks: false, storage: false }, { locks: false, channel: false }]) {
		for (let seed = 1; seed <= 5; seed++) {
			const w = new World();
			let state = seed;
			w.random = () => (state = (state * 48271) % 2147483647) / 2147483647;
			const below = (n) => Math.floor(w.random() * n);
			const rotation = new Rotation(w, features.locks === false, () => (w.random() < 0.3 ? below(8_000) : 5 + below(100)));
			w.server = (path, request) => rotation.answer(path, request);
			const tabs = [];
			for (let step = 0; step < 250; step++) {
				if (tabs.length < 6) tabs.push(w.tab({}, features));
				const tab = tabs[below(tabs.length)];
				const move = below(10);
				if (move < 6) tab.token().then((fresh) => move < 5 && tab.token({ fresh })).catch(() => {});
				else if (move === 6) tab.document.visibilityState = "hidden";
				else if (move === 7) {
					tab.document.visibilityState = "visible";
					tab.document.emit("visibilitychange");
				} else if (move === 8 && below(5) === 0) { // the machine sleeps
					w.time += 3600_000;
					w.slept += 3600_000;
					w.timers.forEach((t) => { t.at += 3600_000; });
				}
				await w.pass(below(step % 20 ? 200 : 40_000));
				assert.equal(rotation.theft, "", `${JSON.stringify(features)}, seed ${seed}`);
			}
			assert.ok(rotation.current > 20, `${rotation.current} refreshes`);
		}
	}
});
