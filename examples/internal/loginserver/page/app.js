// The page of examples/server. It shows what the module jwtauth.mjs and the server do.
import { Auth, AuthError } from "/jwtauth.mjs";

const auth = new Auth({ ahead: 10 });
const $ = (id) => document.getElementById(id);
const texts = {
	start: "Asking the server…", none: "Nobody is logged in.", login: "You have logged in.", refresh: "The access token was refreshed.",
	logout: "You have logged out.", ended: "Your session has ended.", "other-tab": "Another tab has renewed your login.",
	unavailable: "The server gives no answer. Nothing is lost: the page tries again.",
};
let received = 0, life = 1;

/** Writes what has happened, newest first. */
function tell(text) {
	const item = document.createElement("li");
	item.textContent = `${new Date().toLocaleTimeString()} ${text}`;
	$("timeline").prepend(item);
	while ($("timeline").children.length > 50) $("timeline").lastChild.remove();
}

/** Shows an error of the page or of the server. */
function tellError(error) {
	if (error instanceof AuthError) tell(error.kind === "out" ? "You are not logged in." : `${error.message}${error.retryAfter ? `; next try in ${error.retryAfter} s` : ""}`);
	else tell(`Error: ${error.message}`);
}

async function show() {
	$("state").textContent = texts[auth.reason];
	tell(texts[auth.reason]);
	const hasFocus = [$("out"), $("in")].find((part) => part.contains(document.activeElement));
	$("out").hidden = auth.state !== "out";
	$("in").hidden = auth.state !== "in";
	if (hasFocus?.hidden) $(auth.state === "in" ? "you-title" : "login-title").focus();
	if (auth.state !== "in" || auth.reason === "unavailable") return;
	const claims = JSON.parse(atob((await auth.token()).split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
	received = performance.now();
	life = claims.exp - claims.iat;
	$("user").textContent = claims.sub;
	$("scopes").textContent = claims.scope ?? "none";
	showLife();
	await listDevices();
}

/** Shows the rest of the life of the access token. */
function showLife() {
	const left = Math.max(life - (performance.now() - received) / 1000, 0);
	$("token").textContent = `${Math.round(left)} s left`;
	$("life").value = left / life;
}
setInterval(showLife, 1000);

/** Calls a path of the API and returns the answer as JSON, or null. */
async function call(path, init) {
	const answer = await auth.fetch(path, init);
	const body = await answer.json().catch(() => null);
	if (!answer.ok) tell(`${init?.method ?? "GET"} ${path}: ${answer.status}${body?.error ? ` ${body.error}` : ""}`);
	return answer.ok ? body ?? {} : null;
}

async function listDevices() {
	const list = await call("/auth/sessions");
	if (!list) return;
	const focused = document.activeElement.closest("#devices li")?.dataset.session;
	$("devices").replaceChildren(...list.sessions.map((session) => {
		const item = document.createElement("li");
		item.dataset.session = session.id;
		const text = document.createElement("span");
		text.textContent = `${session.details?.device || "unknown device"}, used ${new Date(session.refreshed_at).toLocaleString()}${session.current ? " (this one)" : ""}`;
		item.append(text);
		if (!session.current) {
			const end = document.createElement("button");
			end.textContent = "End";
			end.setAttribute("aria-label", `End the session on ${text.textContent}`);
			end.onclick = run(async () => {
				await call(`/auth/sessions/${session.id}`, { method: "DELETE" });
				tell("The session of that device has ended.");
				await listDevices();
			});
			item.append(end);
		}
		return item;
	}));
	// The new list has new buttons. Somebody who uses the keyboard goes on at the same session.
	if (focused) ($("devices").querySelector(`[data-session="${focused}"] button`) ?? $("devices-title")).focus();
}

const refresh = async () => auth.token({ fresh: await auth.token() });
const demo = (what) => call(`/demo/${what}`, { method: "POST", headers: { "X-CSRF": "1" } });

/** Makes the handler of a button. While it runs, the button does nothing, but keeps the focus. */
function run(f) {
	return async (event) => {
		const button = event.currentTarget;
		if (button.ariaDisabled === "true") return;
		button.ariaDisabled = "true";
		try {
			await f(event);
		} catch (error) {
			tellError(error);
		} finally {
			button.ariaDisabled = null;
		}
	};
}

const buttons = {
	call: async () => {
		const me = await call("/api/protected");
		if (me) tell(`The API knows you: ${me.user}${me.roles ? `, ${me.roles.join(", ")}` : ""}.`);
	},
	order: async () => {
		if (await call("/api/orders", { method: "POST" })) tell("Ordered.");
	},
	refresh,
	logout: () => auth.logout(),
	lose: async () => {
		await demo("lose");
		tell("The answer of the next refresh gets lost…");
		await refresh().catch(tellError);
	},
	down: async () => {
		await demo("down");
		tell("The server gives no answer for 5 seconds…");
		await refresh().catch(tellError);
	},
	copy: async () => {
		if (await demo("copy")) tell("The thief has a copy of your refresh token. You notice nothing.");
	},
	twice: async () => {
		await refresh();
		await refresh();
		tell("You have refreshed twice. The copy is now an old token.");
	},
	steal: async () => {
		const answer = await demo("steal");
		if (!answer) return;
		tell(`The thief has used the copy: ${answer.outcome}.`);
		await refresh().catch(tellError);
	},
	others: async () => {
		await call("/auth/sessions/end-others", { method: "POST" });
		await listDevices();
	},
	all: async () => {
		await call("/auth/sessions/end-all", { method: "POST" });
		await refresh().catch(tellError);
	},
};
for (const [id, f] of Object.entries(buttons)) $(id).onclick = run(f);

$("login").onsubmit = async (event) => {
	event.preventDefault();
	const form = event.currentTarget;
	$("login-error").textContent = "";
	try {
		await auth.login(Object.fromEntries(new FormData(form)));
		form.reset();
	} catch (error) {
		$("login-error").textContent = `${error.message}${error.retryAfter ? `; try again in ${error.retryAfter} s` : ""}`;
	}
};

auth.addEventListener("change", () => show().catch(tellError));
