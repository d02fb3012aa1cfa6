import { programOf } from "./asking.ts";
import { html } from "./html.ts";
import type { Page } from "./page.ts";

const notices = new Map([
  ["signed-out", "You are signed out."],
  [
    "password-changed",
    "Your password is changed, and all that was signed in as you is signed out. Passkeys, connected accounts and API keys still work: sign in with the new password, and look through them on your account page.",
  ],
  ["verified", "Your e-mail address is confirmed. You can sign in now."],
]);

/** What came of signing in elsewhere, or of a program that asked wrongly. Never the words of the address: anybody can write those. */
const problems = new Map([
  ["access_denied", "You did not allow it over there, so nobody is signed in. Try again, or sign in another way."],
  [
    "account_not_linked",
    "There is an account with this e-mail address already. Sign in to it the way you did before, then connect the two on your account page.",
  ],
  [
    "profile_not_usable",
    "Over there your account has an e-mail address that this server can't take. Correct it there, or sign in another way.",
  ],
  ["email_not_found", "That account has no e-mail address, and one is needed here. Sign in another way."],
  ["signup_disabled", "There is no account for you here, and this server makes none by itself. Ask whoever runs it for one."],
  ["email_not_verified", "Over there your e-mail address is not confirmed. Confirm it there, or sign in another way."],
  ["domain_not_allowed", "This server takes nobody with an e-mail address of that domain. Choose another account, or sign in another way."],
  ["state_mismatch", "This took too long, or began in another browser. Sign in again here."],
  ["invalid_client", "A program asked you to sign in, but this server does not know it. Start again from the program."],
  ["invalid_redirect", "A program asked you to sign in, but wants the answer at an address that is not its own. Do not trust it."],
  ["invalid_request", "A program asked you to sign in, but its request is incomplete or wrong. Report this to the makers of the program."],
  ["invalid_scope", "A program asked you to sign in, but for nothing that this server has. Report this to the makers of the program."],
  ["invalid_target", "A program asked you to sign in, but for another server than this one. Start again from the program."],
  ["request_too_long", "A program asked you to sign in, but its request is too long. Report this to the makers of the program."],
]);

/** Signing in: by password, by passkey, or through another provider. Continues what it was opened for. */
export const signIn: Page = async ({ house, query, person, next, onward }) => {
  const program = query.has("sig") ? await programOf(house, query.get("client_id")) : undefined;
  const error = query.get("error");
  if (person && !program && !error) return next ?? "/account";
  const { oidcProviders, signUp } = house.config;
  return {
    title: "Sign in",
    notice: notices.get(query.get("done") ?? ""),
    problem:
      error === null
        ? undefined
        : (problems.get(error) ?? "Signing in did not work. Try again, or start again from the program that asked you to."),
    script: "sign-in.js",
    body: html`
${program && html`<p class="lead">${program.name} asks you to sign in.</p>`}
<form id="password" method="post">
<label for="email">E-mail</label>
<input id="email" name="email" type="email" autocomplete="username webauthn" required${error === null && html` autofocus`}>
<label for="secret">Password</label>
<input id="secret" name="password" type="password" autocomplete="current-password" required>
<button>Sign in</button>
</form>
<p id="unverified" class="aside" hidden><a href="/verify-email${onward}">Send the mail again</a></p>
<div class="others">
<button id="passkey" type="button" class="quiet">Sign in with a passkey</button>
${oidcProviders.map(({ id, name }) => html`<button type="button" class="quiet" data-provider="${id}">Continue with ${name}</button>`)}
</div>
<p class="aside">
${house.mails && html`<a href="/reset-password${onward}">Forgot your password?</a>`}
${signUp === "open" && html`<a href="/sign-up${onward}">Create an account</a>`}
</p>`,
  };
};
