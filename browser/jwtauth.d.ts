/** Tokens as the server answers them. */
export interface Tokens {
	access_token: string;
	/** The life of the access token, in seconds. */
	expires_in: number;
}

export type State = "unknown" | "in" | "out";
export type Reason = "start" | "none" | "login" | "refresh" | "logout" | "ended" | "other-tab" | "unavailable";

/**
 * An error of an Auth: nobody is logged in ("out"), the server gives no answer ("unavailable"), or it has refused a
 * login ("refused").
 */
export class AuthError extends Error {
	readonly kind: "out" | "unavailable" | "refused";
	/** The status of the answer, or 0. */
	readonly status: number;
	/** The member error of the answer, or "". */
	readonly code: string;
	/** When to try again, in seconds, or 0. */
	readonly retryAfter: number;
	constructor(kind: "out" | "unavailable" | "refused", more?: { status?: number; code?: string; description?: string; retryAfter?: number; cause?: unknown });
}

export interface AuthOptions {
	/** The path of the handlers. Default "/auth". */
	path?: string;
	/** How many seconds before its end a token is replaced. Default 60, but at most a third of its life. */
	ahead?: number;
	/** Replaces globalThis, for tests. */
	env?: object;
}

export interface StreamEvent {
	type: string;
	data: string;
	id: string;
}

export interface StreamOptions {
	onmessage: (event: StreamEvent) => void;
	onopen?: () => void;
	signal?: AbortSignal;
}

/**
 * The login of this page. It sends the event "change" when it logs in or out, when the access token is replaced, and
 * when a refresh gets no answer.
 */
export class Auth extends EventTarget {
	constructor(options?: AuthOptions);
	/** "unknown" until the server has answered for the first time. */
	readonly state: State;
	/** Why the state is what it is. */
	readonly reason: Reason;
	/** Logs a user in. Rejects with an AuthError "refused" or "unavailable". */
	login(fields: Record<string, string | number | boolean>): Promise<void>;
	/** Takes the tokens of a login that did not use this object. */
	adopt(tokens: Tokens): void;
	/** Logs out in all tabs. Rejects with an AuthError "unavailable": the user is then still logged in. */
	logout(): Promise<void>;
	/** Returns an access token. Rejects with an AuthError "out" or "unavailable". */
	token(options?: { fresh?: string }): Promise<string>;
	/** fetch with the access token, and one more try after a refresh if the server refuses the token. */
	fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
	/**
	 * Reads server-sent events until signal is aborted. Rejects with an AuthError "out", or with a RangeError if an event
	 * or a line of it has more than 1,048,576 characters.
	 */
	stream(url: string | URL, options: StreamOptions): Promise<void>;
	/** Opens a WebSocket whose token is a subprotocol. The server selects one of protocols. */
	socket(url: string | URL, protocols: string | string[]): Promise<WebSocket>;
	/** Ends timers and listeners. The login goes on. */
	dispose(): void;
}
