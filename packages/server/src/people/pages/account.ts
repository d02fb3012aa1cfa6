import type { House } from "../../house.ts";
import { keysOf } from "../account.ts";
import { loginsOf } from "../programs.ts";
import { abilities, signedInAs } from "./asking.ts";
import { type Html, html, named } from "./html.ts";
import type { Page } from "./page.ts";
import { ask } from "./visitor.ts";

/** Most programs, and most keys, that the page shows. */
const MOST_SHOWN = 100;

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
  ["key-revoked", "The API key is revoked. Nobody comes in by it any more."],
  [
    "all-revoked",
    "All passkeys, connected accounts and API keys are revoked. You are signed out everywhere else, and so are your programs.",
  ],
  ["disconnected", "The account is disconnected. Nobody signs in with it any more."],
  ["connected", "The account is connected. You can sign in with it from now on."],
]);

/** What came of connecting an account elsewhere. */
const problems = new Map([
  ["email_does_not_match", "That account has another e-mail address than this one, so the two are not connected."],
  ["account_already_linked_to_different_user", "That account is connected to somebody else here."],
]);

/** An account at a provider with which the person signs in. */
interface Connected {
  id: string;
  provider: string;
  since: string;
}

const connectedOf = ({ doors }: House, person: string) => doors.user.sql<Connected[]>`
  select id, "providerId" as provider, "createdAt" as since from auth.account
  where "userId" = ${person} and password is null order by "createdAt"`;

/** The person's accounts elsewhere, and the providers at which they may connect one. */
const accountsElsewhere = ({ config: { oidcProviders } }: House, connected: Connected[]): Html => {
  const nameOf = (provider: string) => oidcProviders.find(({ id }) => id === provider)?.name ?? provider;
  const free = oidcProviders.filter(({ id }) => !connected.some(({ provider }) => provider === id));
  return html`${connected.length + free.length > 0 && html`<h2>Other accounts</h2>`}
${connected.map(
  ({ id, provider, since }) => html`<details>
<summary><strong>${nameOf(provider)}</strong> <span class="fine">since <time datetime="${since}">${since.slice(0, 10)}</time></span></summary>
<p class="fine">Whoever signs in with it over there comes in as you.</p>
<form method="post" data-disconnect="${id}"><button class="quiet">Disconnect ${nameOf(provider)}</button></form>
</details>`,
)}
${free.map(({ id, name }) => html`<button type="button" class="quiet" data-connect="${id}">Connect with ${name}</button>`)}`;
};

/** Who is signed in, their passkeys, and the programs that act for them. */
export const account: Page = async ({ house, request, query, person }) => {
  if (!person) return "/sign-in?callback=/account";
  const passkeys = await ask<Passkey[]>(house, request, "/passkey/list-user-passkeys");
  const [logins, keys, connected] = await Promise.all([
    loginsOf(house, person.id, MOST_SHOWN + 1),
    keysOf(house.doors.user.sql, person.id, MOST_SHOWN + 1),
    connectedOf(house, person.id),
  ]);
  const error = query.get("error");
  return {
    title: "Your account",
    notice: notices.get(query.get("done") ?? ""),
    problem: error
      ? (problems.get(error) ?? "The account was not connected. Try again.")
      : passkeys
        ? undefined
        : "Your passkeys can't be shown now. Load the page again in a minute.",
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
<form method="post" data-remove="${id}"><button class="quiet">Remove ${name ? named(name) : "this passkey"}</button></form>
</details>`,
)}
<form id="add" method="post">
<label for="passkey-name">Name of a new passkey</label>
<input id="passkey-name" name="name" maxlength="64" autocomplete="off" placeholder="This laptop" aria-describedby="why" required>
<button class="quiet">Add a passkey</button>
</form>
${accountsElsewhere(house, connected)}
<h2>Programs</h2>
${logins.length === 0 && html`<p class="fine">No program is signed in for you.</p>`}
${logins.slice(0, MOST_SHOWN).map(
  ({ id, program, space, scopes, since }) => html`<details>
<summary><strong>${program}</strong> <span class="fine">${space !== null && html`in ${named(space)}, `}since <time datetime="${since}">${since.slice(0, 10)}</time></span></summary>
${abilities(scopes.join(" "))}
<form method="post" data-end="${id}"><button class="quiet">Sign ${named(program)} out</button></form>
</details>`,
)}
${logins.length > MOST_SHOWN && html`<p class="fine">These are the latest ${MOST_SHOWN}. There are more.</p>`}
<h2>API keys</h2>
${keys.length === 0 && html`<p class="fine">No API key works for you or your agents.</p>`}
${keys.slice(0, MOST_SHOWN).map(
  ({ id, name, hint, agent, group, since }) => html`<details>
<summary><strong>${name}</strong> <span class="fine">${agent !== null && html`of ${named(agent)}${group !== null && html` of the group ${named(group)}`}, `}ends in ${hint}, since <time datetime="${since}">${since.slice(0, 10)}</time></span></summary>
<form method="post" data-revoke="${id}"><button class="quiet">Revoke ${named(name)}</button></form>
</details>`,
)}
${keys.length > MOST_SHOWN && html`<p class="fine">These are ${MOST_SHOWN}, your own first. There are more: <code>me apikey list</code> shows all.</p>`}
<h2>Was somebody else in your account?</h2>
<p class="fine">A new password does not end passkeys, connected accounts and API keys. If you are not sure about one, revoke all, and make new ones: that signs you out everywhere else, too, and your programs. Keys of agents of groups that you administer are among them. Secret keys of your spaces end by <code>me secretkey revoke</code>, invitations by <code>me invite revoke</code>.</p>
<form id="revoke-all" method="post"><button class="quiet">Revoke all passkeys, connected accounts and API keys</button></form>
<form id="sign-out" method="post"><button class="quiet">Sign out</button></form>`,
  };
};
