import { asked, call, element, goOn, KEPT, onSubmit, Refused, run } from "./page.js";
import { passkeys, usePasskey } from "./passkey.js";

const secret = /** @type {HTMLInputElement} */ (element("secret"));
onSubmit(element("password"), async ({ email, password }) => {
  try {
    await goOn(await call("/sign-in/email", { email, password, ...asked() }));
  } catch (error) {
    secret.value = "";
    element("unverified").hidden = !(error instanceof Refused && error.code === "FORBIDDEN");
    throw error;
  }
});

// Some refusals come back from another provider without what this page was opened for.
const error = new URLSearchParams(location.search).get("error");
const before = new URLSearchParams(sessionStorage.getItem(KEPT) ?? "");
sessionStorage.removeItem(KEPT);
if (error && before.size > 0 && !location.search.includes("sig=")) {
  before.set("error", error);
  location.replace(`/sign-in?${before}`);
}

for (const button of document.querySelectorAll("button[data-provider]"))
  button.addEventListener("click", () =>
    run(/** @type {HTMLElement} */ (button), async () => {
      const provider = /** @type {HTMLElement} */ (button).dataset.provider;
      sessionStorage.setItem(KEPT, location.search);
      const back = { callbackURL: document.documentElement.dataset.next, errorCallbackURL: location.pathname + location.search };
      await goOn(await call("/sign-in/social", { provider, ...back, disableRedirect: true, ...asked() }));
    }),
  );

const button = element("passkey");
button.hidden = !passkeys;
/** The offer made where the e-mail address is typed. The browser answers one request at a time. */
const offer = new AbortController();
button.addEventListener("click", () => {
  offer.abort();
  run(button, () => signInByPasskey());
});
if (passkeys && (await PublicKeyCredential.isConditionalMediationAvailable?.())) {
  // Nobody asked for the offer, so nobody is told that it came to nothing.
  signInByPasskey({ mediation: "conditional", signal: offer.signal }).catch(() => {});
}

/** @param {Parameters<typeof usePasskey>[1]} [how] */
async function signInByPasskey(how) {
  const response = await usePasskey(await call("/passkey/generate-authenticate-options"), how);
  await goOn(await call("/passkey/verify-authentication", { response, ...asked() }));
}
