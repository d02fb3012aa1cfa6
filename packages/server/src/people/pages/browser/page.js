// What all pages share: they speak to the server, and say what came of it.

const { origin = location.origin, next = "/account", person = "" } = document.documentElement.dataset;
// Cookies count only from the server's own origin: whoever came by another name of it goes on under the right one.
if (origin !== location.origin) location.replace(origin + location.pathname + location.search + location.hash);
// A page that the browser kept shows what was true then.
window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

/** @param {string} id @returns {HTMLElement} */
export const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** The server's refusal, in words for people. */
export class Refused extends Error {
  /** @param {string} message @param {string} code */
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/**
 * Asks the server; with a body, to do something.
 * @param {string} path below /api/auth @param {object} [body] @returns {Promise<any>}
 */
export async function call(path, body) {
  // Whom this page was made for: who signed in since, in another tab, has not seen it.
  const headers = { "content-type": "application/json", ...(person && { "x-me-person": person }) };
  const request = body && { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(`/api/auth${path}`, request).catch(() => {
    throw new Refused("The server can't be reached. Check your connection, then try again.", "UNREACHABLE");
  });
  const given = await answer.json().catch(() => ({}));
  if (answer.ok) return given;
  throw new Refused(
    answer.status === 429
      ? `Too many attempts. Try again in ${inWords(Number(answer.headers.get("retry-after")) || 60)}.`
      : (given.detail ?? "The server could not do this now. Try again in a minute."),
    given.code,
  );
}

/** Ends the session; one that has ended elsewhere is as good as ended. */
export const signOut = () =>
  call("/sign-out", {}).catch((error) => {
    if (error.code !== "UNAUTHENTICATED") throw error;
  });

/** @param {number} seconds */
const inWords = (seconds) => (seconds === 1 ? "1 second" : seconds < 120 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`);

/** Says what went wrong, and moves the focus to it. @param {string} text */
export function tell(text) {
  element("notice").textContent = "";
  say("problem", text);
}

/** Says what went well, and moves the focus to it. @param {string} text */
export function praise(text) {
  element("problem").textContent = "";
  say("notice", text);
}

/** @param {"problem" | "notice"} id @param {string} text */
function say(id, text) {
  element(id).textContent = text;
  element(id).focus();
}

/**
 * Runs a task, one at a time. A refusal is told.
 * @param {HTMLElement} busy what the task belongs to
 * @param {() => Promise<void>} task
 * @returns {Promise<Refused | undefined>} the refusal
 */
export async function run(busy, task) {
  if (busy.ariaBusy === "true") return;
  busy.ariaBusy = "true";
  try {
    await task();
  } catch (error) {
    const refused = error instanceof Refused ? error : new Refused("This page failed. Load it again.", "FAILED");
    if (refused !== error) reportError(error);
    tell(refused.message);
    return refused;
  } finally {
    busy.ariaBusy = null;
  }
}

/** Refusals of what stands in the fields. */
const WRONG_FIELDS = ["UNAUTHENTICATED", "INVALID_PARAMS"];

/**
 * Has a form do its task, instead of sending itself. Its fields count as wrong from a refusal of them until they are changed.
 * @param {HTMLElement} element
 * @param {(fields: Record<string, string>) => Promise<void>} task
 */
export function onSubmit(element, task) {
  const form = /** @type {HTMLFormElement} */ (element);
  /** @param {boolean} wrong */
  const mark = (wrong) => {
    for (const input of form.querySelectorAll("input")) input.ariaInvalid = wrong ? "true" : null;
  };
  form.addEventListener("input", () => mark(false));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form, event.submitter)));
    const refused = await run(form, () => task(fields));
    mark(refused !== undefined && WRONG_FIELDS.includes(refused.code));
  });
}

/** The OAuth request that this page was opened with: only what the server signed of the address. @returns {{ oauth_query?: string }} */
export function asked() {
  const query = new URLSearchParams(location.search);
  const signed = new Set([...query.getAll("ba_param"), "ba_param", "sig"]);
  const kept = [...query].filter(([name]) => signed.has(name));
  return query.has("sig") ? { oauth_query: new URLSearchParams(kept).toString() } : {};
}

/** Leaves this page. Whatever waits for it stays busy until then: nothing is sent twice. @param {string} url @returns {Promise<never>} */
export function leave(url) {
  location.assign(url);
  return new Promise(() => {});
}

/** The key under which a tab keeps what a page has done. An address is no proof of it: anybody can write one. */
const DONE = "done";

/** Keeps that something was done here, for the page that is to say it. @param {string} what */
export const markDone = (what) => sessionStorage.setItem(DONE, what);

/** Leaves for a page that says what was done here. @param {string} path @param {string} what */
export function leaveDone(path, what) {
  markDone(what);
  return leave(`${path}?done=${what}`);
}

/** Goes where the answer says, else on to the page this one was opened for. @param {{ url?: string }} answer */
export const goOn = ({ url = next }) => leave(url);

/** Where the query of the sign-in page is kept while the person is with another provider, in their tab alone. */
export const KEPT = "sign-in";
if (location.pathname !== "/sign-in") sessionStorage.removeItem(KEPT);

const claimed = new URLSearchParams(location.search).get("done");
if (claimed !== null && claimed === sessionStorage.getItem(DONE)) element("notice").textContent = element("notice").dataset.done ?? "";
sessionStorage.removeItem(DONE);

const said = ["problem", "notice"].map(element).find(({ textContent }) => textContent);
said?.focus();
