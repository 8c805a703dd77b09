"use strict";
// The script of the page resume: it refreshes, and then loads the page that the browser wanted.
(async () => {
	const { refresh, back, login } = document.body.dataset;
	const say = (text) => {
		document.getElementById("status").textContent = text;
		document.getElementById("again").hidden = false;
	};
	const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
	// If the wanted page sends the browser back here at once, the page refuses the new token, too.
	const key = "jwtauth resume " + back;
	const memory = (f) => {
		try {
			return f(sessionStorage);
		} catch {
			return null; // the browser allows no storage
		}
	};
	const since = Date.now() - Number(memory((s) => s.getItem(key)));
	if (since >= 0 && since < 5000) {
		say("Your login was renewed, but the page still cannot be opened. Reload it in a moment.");
		return;
	}
	for (let pause = 500; ; pause = Math.min(2 * pause, 60000)) {
		let answer;
		try {
			answer = await fetch(refresh, { method: "POST", headers: { "X-CSRF": "1" }, keepalive: true });
		} catch {
			// There is no network. Try again.
		}
		const status = answer?.status ?? 0;
		if (answer?.ok) {
			memory((s) => s.setItem(key, String(Date.now())));
			location.replace(back);
			return;
		}
		if (status === 400 && (await answer.json().catch(() => null))?.error === "invalid_grant") {
			location.replace(login);
			return;
		}
		// Any other 400 is not about the login: a proxy may answer it.
		if (status >= 400 && status < 500 && status !== 408 && status !== 425 && status !== 429) {
			say("Your login cannot be renewed.");
			return;
		}
		say("The server does not answer at the moment. Trying again.");
		const wanted = 1000 * Number(answer?.headers.get("Retry-After") ?? 0) || 0;
		await sleep(Math.max(pause, Math.min(wanted, 300000)) * (1 + Math.random() / 4));
	}
})();
