import { countAttempt } from "../limits.ts";
import { abilities, programOf, signedInAs } from "./asking.ts";
import { type Html, html } from "./html.ts";
import type { Page, View } from "./page.ts";
import { ask, type Person } from "./visitor.ts";

/** What better-auth knows of a code. Client and scope only for who claimed it. */
interface Asking {
  status: "pending" | "approved" | "denied";
  client_id?: string;
  scope?: string;
}

const dones = new Map<string, View>([
  [
    "allowed",
    {
      title: "Your other device",
      notice: "The other device is signed in as you.",
      body: html`<p>Go back to your terminal. You can close this page.</p>`,
    },
  ],
  [
    "denied",
    {
      title: "Your other device",
      notice: "Nothing was allowed.",
      body: html`<p>If somebody sent you here with a code, they may have tried to act as you. You can close this page.</p>`,
    },
  ],
]);

/** A program elsewhere asks to act as whoever is signed in here, and shows a code (RFC 8628). The code is compared before anything is allowed. */
export const device: Page = async ({ house, request, query, search, person }) => {
  const done = dones.get(query.get("done") ?? "");
  if (done) return done;
  if (!person) return `/sign-in?callback=${encodeURIComponent(`/device${search}`)}`;
  const code = (query.get("user_code") ?? "").replace(/[^a-z0-9]/gi, "").toUpperCase();
  if (!code) return enter();
  const wait = await countAttempt(house.doors.user.sql, "userCode", { address: request.ip, account: person.id });
  if (wait > 0) return enter(`Too many codes were tried. Try again in ${wait} seconds.`, code);
  const asking = await ask<Asking>(house, request, "/device", new URLSearchParams({ user_code: code }));
  if (!asking) return enter("There is no such code, or it is too old. Compare it with your terminal, or start again there.", code);
  if (asking.status !== "pending") return enter("This code was answered already. Start again in your terminal for a new one.");
  if (asking.client_id === undefined)
    return enter("Somebody else has opened this code already. Start again in your terminal for a new one.");
  return review(code, asking, person, (await programOf(house, asking.client_id)).name);
};

const enter = (problem?: string, code?: string): View => ({
  title: "Enter the code",
  problem,
  body: html`
<p class="lead">Your terminal shows a code. Enter it here to sign in there.</p>
<form method="get" action="/device">
<label for="code">Code</label>
<input id="code" name="user_code" class="code" value="${code}" autocomplete="one-time-code" autocapitalize="characters" spellcheck="false" maxlength="16" required${problem ? html` aria-invalid="true" aria-describedby="problem"` : html` autofocus`}>
<button>Continue</button>
</form>`,
});

const review = (code: string, { scope }: Asking, person: Person, program: Html): View => ({
  title: "Is this your code?",
  script: "device.js",
  body: html`
<p class="code" id="code">${code}</p>
<p class="warning"><strong>Compare it with your own terminal.</strong> If you did not start this yourself, or somebody sent you the code or the link, deny: they would act as you.</p>
<p><strong>${program}</strong> on another device asks to sign in as you.</p>
${signedInAs(person)}
${abilities(scope)}
<form id="answer" method="post" class="actions" data-code="${code}">
<button name="answer" value="approve">It is my code: allow</button>
<button name="answer" value="deny" class="quiet">Deny</button>
</form>`,
});
