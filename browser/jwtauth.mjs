/**
 * The login of a page whose server uses the handlers of the Go package
 * github.com/jwtauth-go/jwtauth/endpoints with a refresh cookie.
 *
 * The access token is only in memory, and the refresh token only in a cookie that no script can
 * read. An Auth refreshes before the access token expires. The tabs of a browser share one
 * refresh if they can; the server stays right if they cannot.
 *
 * @module
 */

/** How long a tab waits for a lock that another tab holds, in milliseconds. */
const LOCK_WAIT = 3000;
/** Without locks, how often a tab looks whether another tab still refreshes, in milliseconds. */
const POLL = 50;
/** The first and the longest pause after a refresh without an answer, in milliseconds. */
const PAUSE = 500;
const MAX_PAUSE = 60_000;
/** The longest pause that Retry-After can ask for, in milliseconds. */
const MAX_RETRY_AFTER = 300_000;
/**
 * The time-out of a login, a logout and a refresh, in milliseconds. That of a refresh begins with the smaller one,
 * so that the next try still comes within RefreshGrace, and doubles with each failure.
 */
const TIMEOUT = 20_000;
const REFRESH_TIMEOUT = 5000;
/** The longest event and line of a stream, in characters. */
const MAX_EVENT = 1 << 20;
/** The header that proves to the server that a script of its own pages has sent a request. */
const HEADERS = { "X-CSRF": "1" };

/**
 * An error of an Auth.
 *
 * - "out": nobody is logged in.
 * - "unavailable": the server gives no answer, or one that this module does not understand. Whether
 *   somebody is logged in is not known. retryAfter is when to try again, in seconds.
 * - "refused": the server has refused a login. status, code and description are those of its answer.
 */
export class AuthError extends Error {
	/**
	 * @param {"out" | "unavailable" | "refused"} kind
	 * @param {{status?: number, code?: string, description?: string, retryAfter?: number, cause?: unknown}} [more]
	 */
	constructor(kind, { status = 0, code = "", description, retryAfter = 0, cause } = {}) {
		super(description || { out: "nobody is logged in", unavailable: "the server gives no answer", refused: "the login was refused" }[kind], { cause });
		Object.assign(this, { name: "AuthError", kind, status, code, retryAfter });
	}
}

/**
 * The login of this page. It sends the event "change" when it logs in or out, when the access token is
 * replaced, and when a refresh gets no answer.
 *
 * state is "unknown" until the server has answered for the first time, then "in" or "out". A
 * server that gives no answer changes no state. reason says why the state is what it is.
 */
export class Auth extends EventTarget {
	/** @type {"unknown" | "in" | "out"} */
	#state = "unknown";
	#reason = "start";
	/** The access token and its life by two clocks: one may be set, and the other may stop in sleep. */
	#token = null;
	/** Counts logins and logouts. The answer to a refresh that began before the last one is dropped. */
	#epoch = 0;
	/** The session of the last token; null if nobody is logged in, as far as this tab knows. */
	#session = null;
	#refreshing = null;
	/** Aborts the request of the refresh that is under way, and when the request was sent. */
	#request;
	#sentAt;
	#failures = 0;
	#pausedUntil = 0;
	#timer = 0;
	#disposed = new AbortController();
	#env;
	#path;
	/** The name of the channel and of the lock, and the first part of the names of entries in localStorage. */
	#name;
	#ahead;
	#channel;

	/**
	 * @param {object} [options]
	 * @param {string} [options.path] the path of the handlers. Default "/auth".
	 * @param {number} [options.ahead] how many seconds before its end a token is replaced. Default 60,
	 *   but at most a third of the life of the token.
	 * @param {object} [options.env] replaces globalThis, for tests.
	 */
	constructor({ path = "/auth", ahead = 60, env = globalThis, ...rest } = {}) {
		super();
		const unknown = Object.keys(rest)[0];
		if (unknown !== undefined) throw new TypeError(`Auth: there is no option ${unknown}: path and ahead are expected`);
		if (typeof path !== "string" || !/^(https?:\/\/[^/]+)?(\/[\w.~-]+)+$/.test(path)) throw new TypeError(`Auth: path is ${path}: a path such as /auth is expected`);
		if (!(ahead >= 0 && ahead <= 3600)) throw new TypeError(`Auth: ahead is ${ahead}: 0 to 3600 seconds are expected`);
		this.#env = env;
		this.#path = path;
		this.#name = `jwtauth ${path}`;
		this.#ahead = ahead * 1000;
		this.#openChannel();
		const listen = (target, type, f) => target?.addEventListener?.(type, f, { signal: this.#disposed.signal });
		listen(env.document, "visibilitychange", () => this.#wake());
		listen(env, "online", () => this.#wake());
		listen(env, "pagehide", () => {
			this.#channel?.close(); // an open channel keeps a page out of the back-forward cache
			if (!this.#request) return;
			// The browser would end the request. Only one with keepalive outlives the page. The refresh itself has no
			// keepalive, since Chromium does not end such a request even if it is aborted.
			this.#request.abort();
			this.#post("refresh", { keepalive: true });
		});
		listen(env, "pageshow", (e) => {
			if (!e.persisted) return;
			// The page was frozen, so it has missed what other tabs said. The server knows.
			this.#openChannel();
			this.#token = null;
			this.#pausedUntil = 0;
			this.#wake();
		});
		this.#refreshSoon();
	}

	/** "unknown", "in" or "out". */
	get state() { return this.#state; }

	/** Why the state is what it is: "start", "none", "login", "refresh", "logout", "ended", "other-tab" or "unavailable". */
	get reason() { return this.#reason; }

	/**
	 * Logs a user in. fields are those of the form: username, password and what the server asks for.
	 * Throws an AuthError "refused" or "unavailable"; the state then stays as it was.
	 *
	 * @param {Record<string, string | number | boolean>} fields
	 */
	async login(fields) {
		const answer = await this.#post("login", { fields });
		if (!answer.ok) throw new AuthError(answer.isRefusal ? "refused" : "unavailable", answer);
		this.adopt(answer.body);
	}

	/**
	 * Takes the tokens of a login that did not use this object: the answer of endpoints.Handlers.Start.
	 *
	 * @param {{access_token: string, expires_in: number}} tokens
	 */
	adopt(tokens, reason = "login") {
		const token = this.#newToken(tokens);
		if (!token) throw new AuthError("unavailable", { description: "these are no tokens" });
		this.#epoch++;
		this.#commit(token, reason);
		this.#send({ type: "login", tokens });
	}

	/**
	 * Logs out in all tabs. Throws an AuthError "unavailable" if the server gives no answer: the user is then
	 * still logged in.
	 */
	async logout() {
		for (let n = 0; ; n++) {
			const answer = await this.#post("logout", { keepalive: true });
			if (answer.ok) return this.#leave("logout");
			if (answer.isRefusal || n === 2) throw new AuthError("unavailable", answer);
			await this.#sleep(Math.max(PAUSE << n, 1000 * Math.min(answer.retryAfter, 5)));
		}
	}

	/**
	 * Returns an access token that is not about to expire. With fresh, it is newer than the given token,
	 * which the server has refused. Throws an AuthError "out" or "unavailable".
	 *
	 * @param {{fresh?: string}} [options]
	 * @returns {Promise<string>}
	 */
	async token({ fresh } = {}) {
		if (this.#state === "out") throw new AuthError("out");
		const left = this.#left();
		if (left <= 0 || this.#token.text === fresh) await this.#refresh();
		else if (left < this.#token.ahead) this.#refreshSoon(); // the token is still good
		return this.#token.text;
	}

	/**
	 * fetch with the access token. If the server refuses the token, fetch refreshes and tries once more, except if
	 * the body is a stream, which can be read only once. All other answers are given to the caller, a 503 too.
	 *
	 * @param {RequestInfo | URL} input
	 * @param {RequestInit} [init]
	 * @returns {Promise<Response>}
	 */
	async fetch(input, init = {}) {
		const isRequest = typeof Request === "function" && input instanceof Request;
		const canRepeat = !(init.body instanceof ReadableStream) && !(isRequest && input.body && !init.body);
		const send = (token) => {
			const headers = new Headers(init.headers ?? (isRequest ? input.headers : undefined));
			headers.set("Authorization", `Bearer ${token}`);
			return this.#env.fetch(input, { ...init, headers });
		};
		const token = await this.token();
		const answer = await send(token);
		if (answer.status !== 401 || !canRepeat || !/invalid_token/.test(answer.headers.get("WWW-Authenticate") ?? "")) return answer;
		const next = await this.token({ fresh: token }).catch(() => "");
		if (!next) return answer;
		await answer.body?.cancel();
		return send(next);
	}

	/**
	 * Reads server-sent events, in place of EventSource, which cannot send a token and never tries again after a
	 * 401 or 503. It connects again until signal is aborted or the user is logged out. An event, and
	 * a line of it, has at most 1,048,576 characters. A longer one ends the stream with a RangeError.
	 *
	 * @param {string | URL} url
	 * @param {{onmessage: (event: {type: string, data: string, id: string}) => void, onopen?: () => void, signal?: AbortSignal}} options
	 * @returns {Promise<void>} ends when signal is aborted; rejects with an AuthError "out" or a RangeError
	 */
	async stream(url, { onmessage, onopen, signal }) {
		let id = "";
		for (let failures = 0; !signal?.aborted && !this.#disposed.signal.aborted; failures++) {
			let wait = 0;
			try {
				const headers = { Accept: "text/event-stream", ...(id && { "Last-Event-ID": id }) };
				const answer = await this.fetch(url, { headers, cache: "no-store", signal });
				const { ok, status } = answer;
				if (status === 204 || (isRefusal(status) && ![401, 408, 429].includes(status))) return; // the server wants no more
				if (ok) {
					failures = -1;
					onopen?.();
					await readEvents(answer.body, (e) => {
						id = e.id;
						onmessage(e);
					});
				}
				wait = 1000 * seconds(answer);
			} catch (e) {
				if (signal?.aborted) return;
				if (e instanceof RangeError || e.kind === "out") throw e;
			}
			await this.#sleep(Math.max(wait, this.#pause(Math.max(failures, 0))), signal);
		}
	}

	/**
	 * Opens a WebSocket whose token is a subprotocol, as jwtauth.FromWebSocketProtocol("jwt.bearer.") reads it. The
	 * server selects one of protocols. A browser does not tell a script why a handshake has failed (code 1006): call
	 * socket again after a pause, and it takes a newer token if there is one.
	 *
	 * @param {string | URL} url
	 * @param {string | string[]} protocols at least one
	 * @returns {Promise<WebSocket>}
	 */
	async socket(url, protocols) {
		const list = [protocols ?? []].flat();
		if (!list.length) throw new TypeError("Auth.socket: at least one protocol is expected, which the server selects");
		return new this.#env.WebSocket(url, [...list, `jwt.bearer.${await this.token()}`]);
	}

	/** Ends timers and listeners. The login goes on. */
	dispose() {
		this.#disposed.abort();
		this.#env.clearTimeout(this.#timer);
		this.#channel?.close();
	}

	/** Refreshes. Calls at the same time share one refresh, in this tab always, among tabs if they can. */
	#refresh() {
		return (this.#refreshing ??= this.#refreshOnce().finally(() => {
			this.#refreshing = null;
		}));
	}

	/** Refreshes, and does not wait. A failure shows in the state. */
	#refreshSoon() { this.#refresh().catch(() => {}); }

	async #refreshOnce() {
		if (this.#isPaused()) throw this.#unavailable();
		const epoch = this.#epoch;
		const before = this.#token;
		const isDone = () => this.#epoch !== epoch || (this.#token !== before && this.#left() > 0);
		await this.#inTurn(async () => {
			if (isDone()) return;
			const abort = (this.#request = new AbortController());
			this.#sentAt = this.#now();
			const { ok, status, body, code, retryAfter } = await this.#post("refresh", { abort, timeout: this.#refreshTimeout() });
			this.#request = null;
			if (this.#epoch !== epoch) return; // by a login or logout
			const token = ok && this.#newToken(body);
			if (token) {
				this.#commit(token, "refresh");
				this.#send({ type: "tokens", tokens: body, at: this.#now() });
			} else if (status === 400 && code === "invalid_grant") { // a proxy may also answer 400
				this.#leave(this.#session === null ? "none" : "ended");
			} else if (!isDone()) {
				this.#failed(retryAfter);
			}
		});
		if (this.#state === "out") throw new AuthError("out");
		if (this.#left() <= 0 || (this.#isPaused() && this.#token === before)) throw this.#unavailable();
	}

	/** Runs f while no other tab does. If another tab keeps the lock for too long, f runs all the same. */
	async #inTurn(f) {
		let result;
		const run = () => (result ??= f());
		try {
			const { locks } = this.#env.navigator;
			await (locks ? this.#timed(LOCK_WAIT, new AbortController(), (signal) => locks.request(this.#name, { signal }, run)) : this.#inTurnWithoutLocks(run));
		} catch {
			// The lock could not be had, or localStorage not be used.
		}
		return run();
	}

	/**
	 * Runs f while no other tab does: each tab enters its refresh in localStorage, with the time when it is over at the
	 * latest. Two tabs that begin at the same moment may both run f. They then send the same cookie, and a third tab
	 * waits for both.
	 */
	async #inTurnWithoutLocks(f) {
		const { localStorage, Math } = this.#env;
		const prefix = `${this.#name} `;
		const isEntered = (key) => {
			const left = localStorage[key] - this.#now();
			if (left > 0 && left <= TIMEOUT + LOCK_WAIT) return true;
			localStorage.removeItem(key); // its tab has ended
		};
		while (Object.keys(localStorage).some((key) => key.startsWith(prefix) && isEntered(key))) await this.#sleep(POLL * this.#jitter());
		const entry = prefix + Math.random();
		localStorage.setItem(entry, this.#now() + this.#refreshTimeout() + LOCK_WAIT);
		await f().finally(() => localStorage.removeItem(entry));
	}

	#refreshTimeout() { return Math.min(REFRESH_TIMEOUT * 2 ** this.#failures, TIMEOUT); }

	/** Calls f with the signal of abort, which is aborted after ms. */
	async #timed(ms, abort, f) {
		const timer = this.#env.setTimeout(() => abort.abort(), ms);
		try {
			return await f(abort.signal);
		} finally {
			this.#env.clearTimeout(timer);
		}
	}

	/** Sends a request to a route of the handlers, and reads the answer. Without an answer, ok is missing. */
	#post(route, { fields, keepalive = false, abort = new AbortController(), timeout = TIMEOUT }) {
		return this.#timed(timeout, abort, async (signal) => {
			const headers = fields ? { ...HEADERS, "Content-Type": "application/json" } : HEADERS;
			try {
				const answer = await this.#env.fetch(`${this.#path}/${route}`, { method: "POST", headers, body: JSON.stringify(fields), keepalive, credentials: "include", cache: "no-store", redirect: "error", signal });
				const { ok, status } = answer;
				const body = Object(await answer.json().catch(() => null));
				return { ok, status, body, isRefusal: isRefusal(status), code: text(body.error), description: text(body.error_description), retryAfter: seconds(answer) };
			} catch (cause) {
				return { retryAfter: 0, cause };
			}
		});
	}

	/** Returns null if these are no tokens. */
	#newToken(tokens) {
		const { access_token: text, expires_in } = tokens ?? {};
		const life = 1000 * expires_in;
		if (typeof text !== "string" || !text || !(life > 0)) return null;
		return { text, life, ahead: Math.min(this.#ahead, life / 3), wall: this.#now(), ticks: this.#env.performance.now() };
	}

	#now() { return this.#env.Date.now(); }

	/** Between 1 and 1.25, so that tabs do not all begin at the same moment. */
	#jitter() { return 1 + this.#env.Math.random() / 4; }

	/** How many milliseconds the token is good for, by the clock that says less. */
	#left() {
		const t = this.#token;
		return t ? t.life - Math.max(this.#now() - t.wall, this.#env.performance.now() - t.ticks, 0) : 0;
	}

	#commit(token, reason, at) {
		this.#set(token, sessionOf(token.text), at);
		this.#failures = 0;
		this.#pausedUntil = 0;
		this.#schedule(this.#left() - token.ahead * this.#jitter());
		this.#change("in", reason);
	}

	/** Nobody is logged in any more. The other tabs of the same session are told. */
	#leave(reason) {
		this.#epoch++;
		this.#send({ type: "out", reason, session: this.#session });
		this.#end(reason);
	}

	#end(reason) {
		this.#set(null, null);
		this.#env.clearTimeout(this.#timer);
		this.#change("out", reason);
	}

	/**
	 * If a refresh is under way, its answer is late from now on, and must not replace the cookie. A request that was
	 * sent after the cookie came, at the given time, has the new cookie. Its answer is not late.
	 */
	#set(token, session, at = Infinity) {
		if (this.#sentAt < at) this.#request?.abort();
		this.#token = token;
		this.#session = session;
	}

	/** A refresh without an answer: the state stays, and the next try comes later. */
	#failed(retryAfter) {
		const pause = Math.max(this.#pause(this.#failures++), Math.min(1000 * retryAfter, MAX_RETRY_AFTER));
		this.#pausedUntil = this.#now() + pause;
		this.#schedule(pause);
		this.#change(this.#state, "unavailable");
	}

	#unavailable() {
		return new AuthError("unavailable", { retryAfter: Math.max(Math.ceil((this.#pausedUntil - this.#now()) / 1000), 1) });
	}

	#isPaused() { return this.#now() < this.#pausedUntil; }

	#pause(failures) { return Math.min(PAUSE * 2 ** Math.min(failures, 10), MAX_PAUSE) * this.#jitter(); }

	/** Timers are a hint: they do not run in sleep, and late in hidden tabs. */
	#schedule(ms) {
		this.#env.clearTimeout(this.#timer);
		this.#timer = this.#env.setTimeout(() => this.#wake(), Math.max(ms, 100));
	}

	/** Refreshes if it is time, and if the tab is visible: hidden tabs refresh when they are used. */
	#wake() {
		const isDue = this.#failures || !this.#token || this.#left() <= this.#token.ahead * 1.25;
		if (this.#state === "out" || this.#disposed.signal.aborted || this.#env.document?.visibilityState === "hidden" || !isDue) return;
		if (this.#isPaused()) this.#schedule(Math.min(this.#pausedUntil - this.#now(), MAX_RETRY_AFTER));
		else this.#refreshSoon();
	}

	#change(state, reason) {
		this.#state = state;
		this.#reason = reason;
		this.dispatchEvent(new Event("change"));
	}

	#openChannel() {
		const { BroadcastChannel } = this.#env;
		if (!BroadcastChannel) return;
		this.#channel?.close();
		this.#channel = new BroadcastChannel(this.#name);
		this.#channel.onmessage = (e) => this.#hear(e.data);
	}

	#send(message) {
		try {
			this.#channel?.postMessage(message);
		} catch {
			// The channel is closed: the other tabs ask the server.
		}
	}

	/**
	 * Another tab has refreshed, logged in or logged out. Its message may be late: it counts only if it is about
	 * the session of this tab, or about a login.
	 */
	#hear(message) {
		const { type, tokens, session, reason, at } = message ?? {};
		if (type === "out") {
			if (session === null || session !== this.#session) return;
			this.#epoch++;
			this.#end(reason === "logout" ? "logout" : "ended");
			return;
		}
		const token = this.#newToken(tokens);
		if (!token) return;
		if (type === "login") this.#epoch++;
		else if (this.#state === "out" || (this.#session !== null && this.#session !== sessionOf(token.text))) return;
		this.#commit(token, "other-tab", at);
	}

	/** Sleeps until ms have passed or signal is aborted. */
	#sleep(ms, signal) {
		return new Promise((done) => {
			const timer = this.#env.setTimeout(done, ms);
			signal?.addEventListener("abort", () => {
				this.#env.clearTimeout(timer);
				done();
			}, { once: true });
		});
	}
}

/** The session of an access token, the claim sid. It only tells sessions apart, so nothing is verified. */
function sessionOf(token) {
	try {
		const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
		return String(JSON.parse(atob(payload)).sid ?? "");
	} catch {
		return "";
	}
}

function isRefusal(status) { return status >= 400 && status < 500; }

function text(value) { return typeof value === "string" ? value : undefined; }

/** The header Retry-After, in seconds; 0 if there is none. */
function seconds(answer) { return Number(answer?.headers?.get("Retry-After")) || 0; }

/** Parses server-sent events. */
async function readEvents(body, emit) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let buffer = "", type = "", data = "", id = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		buffer += value;
		for (let end; data.length <= MAX_EVENT && (end = /\r\n|\n|\r(?!$)/.exec(buffer)); ) {
			const line = buffer.slice(0, end.index);
			buffer = buffer.slice(end.index + end[0].length);
			const [, field, content] = /^([^:]*):? ?(.*)$/s.exec(line);
			if (line === "") {
				if (data) emit({ type: type || "message", data: data.slice(0, -1), id });
				type = data = "";
			} else if (field === "data") data += content + "\n";
			else if (field === "event") type = content;
			else if (field === "id" && !content.includes("\0")) id = content;
		}
		if (Math.max(buffer.length, data.length) > MAX_EVENT) {
			reader.cancel();
			throw new RangeError(`Auth.stream: an event has more than ${MAX_EVENT} characters`);
		}
	}
}
