import { hostOf, isLoopback } from "../../config.ts";
import type { House } from "../../house.ts";
import { abilities, choices, programOf, signedInAs } from "./asking.ts";
import { html } from "./html.ts";
import type { Page } from "./page.ts";

/** A program on this computer asks to act as whoever is signed in (RFC 6749 section 4.1). */
export const consent: Page = async ({ house, query, search, person }) => {
  if (!query.has("sig")) return stale("There is nothing to allow here. Start signing in from the program itself.");
  if (Number(query.get("exp")) * 1000 < Date.now()) return stale("This request is too old. Start signing in again from the program.");
  if (!person) return `/sign-in${search}`;
  const { name, ours } = await programOf(house, query.get("client_id"));
  const { where, here } = destinationOf(query.get("redirect_uri"));
  const spaces = ours ? [] : await spacesOf(house, person.id);
  if (!ours && spaces.length === 0) return stale("A program acts in a space, and you are in none yet. Make one: me space create");
  return {
    title: ours ? "Let the command line in?" : "Let this program in?",
    script: "consent.js",
    body: html`
<p class="lead"><strong>${name}</strong>${here && " on this computer"} asks ${ours ? "to sign in as you" : "to act for you"}.</p>
${signedInAs(person)}
${ours && abilities(query.get("scope"))}
<p class="fine">The answer goes to <code>${where}</code>${here && ": a program on this computer, and nowhere else"}. If you did not just start signing in ${here ? "from a terminal here" : "there"}, deny.</p>
<form id="answer" method="post">
${
  !ours &&
  html`${choices(query.get("scope"))}
<label for="space">In the space</label>
<select id="space" name="space">${options("Made by you", spaces, true)}${options("Made by others", spaces, false)}</select>
<p class="fine">There it can do no more than you may yourself; in other spaces, and with your account, nothing. In any case it learns who you are.</p>`
}
<div class="actions">
<button name="accept" value="yes">Allow</button>
<button name="accept" value="no" class="quiet">Deny</button>
</div>
</form>
<form id="other" method="post" class="aside"><button class="link">Use another account</button></form>`,
  };
};

interface Choice {
  slug: string;
  name: string;
  own: boolean;
  /** The maker of the space, if they still have an account. */
  maker: string | null;
}

/** The spaces that a person is in. */
const spacesOf = ({ doors }: House, person: string) => doors.user.sql<Choice[]>`
  select s.slug, s.name, s.created_by is not distinct from ${person}::uuid as own, p.name as maker
  from live_members m join spaces s on s.id = m.space_id
    left join live_members c on c.space_id = s.id and c.principal_id = s.created_by left join principals p on p.id = c.principal_id
  where m.principal_id = ${person} order by lower(s.name), s.slug`;

/** Spaces to choose from. Others' are apart, and come last: anybody can give one the name of one's own, and bring people into it. */
const options = (label: string, spaces: readonly Choice[], made: boolean) => {
  const listed = spaces.filter(({ own }) => own === made);
  return (
    listed.length > 0 &&
    html`<optgroup label="${label}">${listed.map(
      ({ slug, name, own, maker }) => html`<option value="${slug}">${name} (${slug}${!own && maker !== null && `, by ${maker}`})</option>`,
    )}</optgroup>`
  );
};

/**
 * Where the answer goes, and whether that is this computer (RFC 8252 sections 7.1 and 7.3). What follows a scheme of the
 * program's own is nobody's address: it could read like one that people trust.
 */
function destinationOf(redirectUri: string | null): { where: string; here: boolean } {
  const { protocol, host, hostname } = new URL(URL.canParse(redirectUri ?? "") ? String(redirectUri) : "http://nowhere.invalid");
  if (protocol !== "https:" && protocol !== "http:") return { where: protocol.slice(0, -1), here: true };
  return { where: host, here: isLoopback(hostOf({ hostname })) };
}

const stale = (problem: string) => ({
  title: "Nothing to allow",
  problem,
  body: html`<p class="aside"><a href="/account">Your account</a></p>`,
});
