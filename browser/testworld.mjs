// A world for tests of jwtauth.mjs: its clock, its network and its tabs are controlled by the tests.
import { Auth } from "./jwtauth.mjs";

/** A localStorage. */
class Storage {
	getItem(key) { return Object.hasOwn(this, key) ? this[key] : null; }
	setItem(key, value) { this[key] = String(value); }
	removeItem(key) { delete this[key]; }
}

/** A world has a clock, a server and the tabs of one browser. */
export class World {
	time = 1_000_000;
	slept = 0; // how much of the time performance.now has not counted
	timers = [];
	requests = [];
	channels = new Set();
	held = new Map(); // the locks that a tab holds
	storage = new Storage();
	random = () => 0.5;
	/** Answers a request: a function of its path, which returns { status, body, headers } or throws. */
	server = () => ({ status: 503 });
	serial = 0;
	session = "s1";

	tokens(life = 900, session = this.session) {
		const payload = Buffer.from(JSON.stringify({ sid: session, n: ++this.serial })).toString("base64url");
		return { access_token: `h.${payload}.s`, expires_in: life };
	}

	/** Lets ms pass. Timers run at their time, and everything that follows from them. */
	async pass(ms) {
		const end = this.time + ms;
		for (;;) {
			await settle();
			const next = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
			if (!next) break;
			this.timers.splice(this.timers.indexOf(next), 1);
			this.time = Math.max(this.time, next.at);
			next.f();
		}
		this.time = end;
		await settle();
	}

	/** Opens a tab. */
	tab(options = {}, { locks = true, channel = true, storage = true } = {}) {
		const world = this;
		const listeners = () => {
			const target = new EventTarget();
			return Object.assign(target, { visibilityState: "visible", emit: (type, more) => target.dispatchEvent(Object.assign(new Event(type), more)) });
		};
		class Channel {
			constructor(name) { this.name = name; world.channels.add(this); }
			postMessage(data) {
				if (!world.channels.has(this)) throw new Error("closed");
				const copy = structuredClone(data);
				for (const other of world.channels) {
					if (other !== this && other.name === this.name) queueMicrotask(() => world.channels.has(other) && other.onmessage?.({ data: copy }));
				}
			}
			close() { world.channels.delete(this); }
		}
		const window = Object.assign(listeners(), {
			Date: { now: () => world.time }, performance: { now: () => world.time - world.slept }, Math: { random: () => world.random() },
			document: listeners(), WebSocket: class { constructor(...a) { this.args = a; } },
			navigator: { locks: locks ? { request: (name, { signal }, f) => world.lock(name, signal, f) } : undefined },
			localStorage: storage ? world.storage : undefined,
			BroadcastChannel: channel ? Channel : undefined,
			setTimeout: (f, ms) => {
				const timer = { f, at: world.time + ms };
				world.timers.push(timer);
				return timer;
			},
			clearTimeout: (timer) => {
				const at = world.timers.indexOf(timer);
				if (at >= 0) world.timers.splice(at, 1);
			},
			fetch: async (url, init = {}) => {
				const path = String(url?.url ?? url);
				const headers = new Headers(init.headers);
				const request = { path, time: world.time, method: init.method ?? "GET", token: headers.get("Authorization"), init, headers };
				world.requests.push(request);
				const aborted = new Promise((_, reject) => init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError"))));
				const { status = 200, body = {}, headers: more = {} } = await Promise.race([world.server(path, request), aborted]);
				return new Response([204, 304].includes(status) ? null : body instanceof ReadableStream || typeof body === "string" ? body : JSON.stringify(body), { status, headers: more });
			},
		});
		const auth = new Auth({ ...options, env: window });
		const states = [];
		auth.addEventListener("change", () => states.push(`${auth.state} ${auth.reason}`));
		return Object.assign(auth, { states, window, document: window.document });
	}

	async lock(name, signal, f) {
		while (this.held.has(name)) {
			await Promise.race([this.held.get(name), new Promise((_, reject) => {
				if (signal.aborted) reject(signal.reason);
				signal.addEventListener("abort", () => reject(signal.reason));
			})]);
		}
		const running = (async () => f())();
		this.held.set(name, running.then(() => {}, () => {}).then(() => this.held.delete(name)));
		return running;
	}

	count(path) { return this.requests.filter((r) => r.path === path).length; }
}

/** Waits until nothing more happens without the clock. */
export async function settle() {
	for (let n = 0; n < 8; n++) await new Promise((done) => setImmediate(done));
}

export const REFRESH = "/auth/refresh", LOGIN = "/auth/login", LOGOUT = "/auth/logout";

/** A server where one user is logged in. */
export function loggedIn(world, life = 900) {
	return (path) => (path === REFRESH || path === LOGIN ? { body: world.tokens(life) } : path === LOGOUT ? { status: 204 } : { body: {} });
}

/** Starts a refresh whose answer comes when finish is called. */
export function heldRefresh(w, then = loggedIn(w)) {
	let finish;
	const answer = new Promise((done) => { finish = done; });
	const late = w.tokens();
	w.server = async (path) => {
		if (path !== REFRESH) return then(path);
		await answer;
		return { body: late };
	};
	return { finish, late };
}
