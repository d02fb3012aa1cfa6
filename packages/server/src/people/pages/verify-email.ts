import { html } from "./html.ts";
import type { Page } from "./page.ts";

/** Confirms an e-mail address, with the token of the mail in its fragment and the password of the sign-up; without a token, asks for another mail. */
export const verifyEmail: Page = ({ house, onward }) => ({
  title: "Confirm your e-mail address",
  script: "verify-email.js",
  body: html`
<form id="confirm" method="post" hidden>
<p class="lead">Enter the password that you signed up with, so that nobody but you confirms it.</p>
<label for="secret">Password</label>
<input id="secret" name="password" type="password" autocomplete="current-password" required>
<button>Confirm my address</button>
<p class="aside">You did not sign up, or do not know the password? <a href="/reset-password${onward}">Choose a new password</a></p>
</form>
<form id="request" method="post">
${
  house.mails
    ? html`<p class="lead">Open the link in the mail we sent you. It did not come, or is too old? We send another.</p>
<label for="email">E-mail</label>
<input id="email" name="email" type="email" autocomplete="username" required>
<button>Send the mail again</button>`
    : html`<p>This server sends no mail. Whoever runs it can confirm your address.</p>`
}
</form>
<p class="aside"><a href="/sign-in${onward}">Back to signing in</a></p>`,
});
