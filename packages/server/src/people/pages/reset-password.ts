import { PASSWORD_LENGTH } from "../auth.ts";
import { html } from "./html.ts";
import type { Page } from "./page.ts";

/** Forgot the password: asks for a mail; with the token of the mail in its fragment, for the new password. */
export const resetPassword: Page = ({ house, onward }) => ({
  title: "A new password",
  script: "reset-password.js",
  body: html`
<form id="request" method="post">
${
  house.mails
    ? html`<p class="lead">We send a link to your e-mail address. With it you choose a new password.</p>
<label for="email">E-mail</label>
<input id="email" name="email" type="email" autocomplete="username" required>
<button>Send the link</button>`
    : html`<p>This server sends no mail. Whoever runs it can give you a new password.</p>`
}
</form>
<form id="change" method="post" hidden>
<label for="new">New password</label>
<input id="new" name="newPassword" type="password" autocomplete="new-password" minlength="${PASSWORD_LENGTH.min}" maxlength="${PASSWORD_LENGTH.max}" aria-describedby="rule" required>
<p id="rule" class="fine">At least ${PASSWORD_LENGTH.min} characters. Whatever is signed in as you will be signed out.</p>
<button>Change the password</button>
</form>
<p class="aside"><a href="/sign-in${onward}">Back to signing in</a></p>`,
});
