import { PASSWORD_LENGTH } from "../auth.ts";
import { html } from "./html.ts";
import type { Page } from "./page.ts";

/** Making an account by oneself, where the operator lets people. */
export const signUp: Page = ({ house, onward }) =>
  house.config.signUp === "open"
    ? {
        title: "Create an account",
        script: "sign-up.js",
        body: html`
<form id="make" method="post">
<label for="name">Name</label>
<input id="name" name="name" autocomplete="name" maxlength="64" required autofocus>
<label for="email">E-mail</label>
<input id="email" name="email" type="email" autocomplete="username" required>
<label for="new">Password</label>
<input id="new" name="password" type="password" autocomplete="new-password" minlength="${PASSWORD_LENGTH.min}" maxlength="${PASSWORD_LENGTH.max}" aria-describedby="rule" required>
<p id="rule" class="fine">At least ${PASSWORD_LENGTH.min} characters.</p>
<button>Create the account</button>
</form>
<p class="aside"><a href="/sign-in${onward}">I have an account</a></p>`,
      }
    : {
        title: "Create an account",
        problem: "On this server people do not make accounts by themselves. Ask whoever runs it for one.",
        body: html`<p class="aside"><a href="/sign-in${onward}">Back to signing in</a></p>`,
      };
