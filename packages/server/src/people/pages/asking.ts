import type { House } from "../../house.ts";
import { programScopes } from "../../oauth/scopes.ts";
import { COMMAND_LINE } from "../login.ts";
import { type Html, html, named } from "./html.ts";
import type { Person } from "./visitor.ts";

/** A program that asks to act as somebody. */
export interface Program {
  /** How a sentence begins with it. */
  name: Html;
  /** Whether it is ours, and not merely says so. */
  ours: boolean;
}

/** The program of an OAuth client id. */
export async function programOf(house: House, clientId: string | null | undefined): Promise<Program> {
  if (clientId === COMMAND_LINE) return { name: html`The Gatehouse command line`, ours: true };
  const [client] = await house.doors.user.sql<{ name: string }[]>`select name from auth."oauthClient" where "clientId" = ${clientId ?? ""}`;
  return { name: client ? html`A program that calls itself ${named(client.name)}` : html`A program that is not known here`, ours: false };
}

const meanings = new Map<string, string>([
  ...Object.entries(programScopes),
  ["account", "Act as you, in person: whatever you may do here, it may do too"],
  ["offline_access", "Stay signed in until you sign it out, or change your password"],
]);

/** What the scopes asked for allow, in plain words: never in those of the address. */
export const abilities = (scope: string | null | undefined): Html => html`<h2>It will be able to</h2>
<ul>${wordsOf(scope).map((word) => html`<li>${meaningOf(word)}</li>`)}</ul>`;

/** The same, where the person may leave some of it out. */
export const choices = (scope: string | null): Html => html`<fieldset class="choices">
<legend>It asks to be able to</legend>
${wordsOf(scope).map((word) => html`<label><input type="checkbox" name="scope" value="${word}" checked> ${meaningOf(word)}</label>`)}
</fieldset>`;

const wordsOf = (scope: string | null | undefined) => (scope ?? "").split(" ").filter(Boolean);
const meaningOf = (word: string) => meanings.get(word) ?? "Do something that this page has no words for. In doubt, deny";

/** Who allows it. */
export const signedInAs = ({ name, email }: Person): Html => html`<div class="person">
<span class="initial" aria-hidden="true">${[...name][0]?.toUpperCase()}</span>
<span><strong>${name}</strong><br>${email}</span>
</div>`;
