import { loginsOf } from "../programs.ts";
import { abilities, signedInAs } from "./asking.ts";
import { html } from "./html.ts";
import type { Page } from "./page.ts";
import { ask } from "./visitor.ts";

interface Passkey {
  id: string;
  name: string | null;
  createdAt: string;
}

const notices = new Map([
  ["passkey-added", "The passkey is added. You can sign in with it from now on."],
  ["passkey-renamed", "The passkey has a new name."],
  ["program-ended", "The program is signed out. It can do nothing for you any more."],
  ["passkey-removed", "The passkey is removed. Nobody signs in with it any more."],
]);

/** Who is signed in, their passkeys, and the programs that act for them. */
export const account: Page = async ({ house, request, query, person }) => {
  if (!person) return "/sign-in?callback=/account";
  const passkeys = await ask<Passkey[]>(house, request, "/passkey/list-user-passkeys");
  const logins = await loginsOf(house, person.id);
  return {
    title: "Your account",
    notice: notices.get(query.get("done") ?? ""),
    problem: passkeys ? undefined : "Your passkeys can't be shown now. Load the page again in a minute.",
    script: "account.js",
    body: html`
${signedInAs(person)}
<h2>Passkeys</h2>
<p class="fine" id="why">Sign in with your fingerprint, your face or a security key. Nothing to remember, nothing to steal.</p>
${passkeys?.map(
  ({ id, name, createdAt }) => html`<details>
<summary><strong>${name || "Passkey"}</strong> <span class="fine">since <time datetime="${createdAt}">${createdAt.slice(0, 10)}</time></span></summary>
<form method="post" data-rename="${id}">
<label for="name-${id}">Name</label>
<input id="name-${id}" name="name" value="${name}" maxlength="64" autocomplete="off" required>
<button class="quiet">Rename</button>
</form>
<form method="post" data-remove="${id}"><button class="quiet">Remove ${name ? `“${name}”` : "this passkey"}</button></form>
</details>`,
)}
<form id="add" method="post">
<label for="passkey-name">Name of a new passkey</label>
<input id="passkey-name" name="name" maxlength="64" autocomplete="off" placeholder="This laptop" aria-describedby="why" required>
<button class="quiet">Add a passkey</button>
</form>
<h2>Programs</h2>
${logins.length === 0 && html`<p class="fine">No program is signed in for you.</p>`}
${logins.map(
  ({ id, program, space, scopes, since }) => html`<details>
<summary><strong>${program}</strong> <span class="fine">${space !== null && `in ${space}, `}since <time datetime="${since}">${since.slice(0, 10)}</time></span></summary>
${abilities(scopes.join(" "))}
<form method="post" data-end="${id}"><button class="quiet">Sign ${program} out</button></form>
</details>`,
)}
<form id="sign-out" method="post"><button class="quiet">Sign out</button></form>`,
  };
};
