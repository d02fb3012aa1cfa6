import { type Html, html } from "./html.ts";
import type { Person } from "./visitor.ts";

/** A program that asks to act as somebody. */
export interface Program {
  /** How a sentence begins with it. */
  name: string;
  /** Whether it is ours, and not merely says so. */
  ours: boolean;
}

/** The program of an OAuth client id. */
export const programOf = (clientId: string | null): Program =>
  clientId === "me" ? { name: "The Gatehouse command line", ours: true } : { name: "A program that is not part of Gatehouse", ours: false };

const meanings = new Map([
  ["account", "Act as you, in person: whatever you may do here, it may do too"],
  ["offline_access", "Stay signed in until you sign it out, or change your password"],
]);

/** What the scopes asked for allow, in plain words: never in those of the address. */
export const abilities = (scope: string | null | undefined): Html => html`<h2>It will be able to</h2>
<ul>${(scope ?? "")
  .split(" ")
  .filter(Boolean)
  .map((word) => html`<li>${meanings.get(word) ?? "Do something that this page has no words for. In doubt, deny"}</li>`)}</ul>`;

/** Who allows it. */
export const signedInAs = ({ name, email }: Person): Html => html`<div class="person">
<span class="initial" aria-hidden="true">${[...name][0]?.toUpperCase()}</span>
<span><strong>${name}</strong><br>${email}</span>
</div>`;
