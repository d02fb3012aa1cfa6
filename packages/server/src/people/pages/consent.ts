import { isLoopback } from "../../config.ts";
import { abilities, programOf, signedInAs } from "./asking.ts";
import { html } from "./html.ts";
import type { Page } from "./pages.ts";

/** A program on this computer asks to act as whoever is signed in (RFC 6749 section 4.1). */
export const consent: Page = ({ query, search, person }) => {
  if (!query.has("sig")) return stale("There is nothing to allow here. Start signing in from the program itself.");
  if (Number(query.get("exp")) * 1000 < Date.now()) return stale("This request is too old. Start signing in again from the program.");
  if (!person) return `/sign-in${search}`;
  const { name, ours } = programOf(query.get("client_id"));
  const { host, here } = destinationOf(query.get("redirect_uri"));
  return {
    title: ours ? "Let the command line in?" : "Let this program in?",
    script: "consent.js",
    body: html`
<p class="lead"><strong>${name}</strong>${here && " on this computer"} asks to sign in as you.</p>
${signedInAs(person)}
${abilities(query.get("scope"))}
<p class="fine">The answer goes to <code>${host}</code>${here && ": a program on this computer, and nowhere else"}. If you did not just start signing in ${here ? "from a terminal here" : "there"}, deny.</p>
<form id="answer" method="post" class="actions">
<button name="accept" value="yes">Allow</button>
<button name="accept" value="no" class="quiet">Deny</button>
</form>
<form id="other" method="post" class="aside"><button class="link">Use another account</button></form>`,
  };
};

/** Where the answer goes, and whether that is this computer (RFC 8252 section 7.3). */
function destinationOf(redirectUri: string | null): { host: string; here: boolean } {
  const { host, hostname } = new URL(URL.canParse(redirectUri ?? "") ? String(redirectUri) : "http://nowhere.invalid");
  return { host, here: isLoopback(hostname.replace(/^\[|\]$/g, "")) };
}

const stale = (problem: string) => ({
  title: "Nothing to allow",
  problem,
  body: html`<p class="aside"><a href="/account">Your account</a></p>`,
});
