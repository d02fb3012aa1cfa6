// Passkeys, by the browser's own means (WebAuthn level 3).
import { Refused } from "./page.js";

/** Whether there can be passkeys: the server has a name, and the browser knows how. */
export const passkeys =
  document.documentElement.dataset.passkeys === "true" &&
  "PublicKeyCredential" in window &&
  "parseRequestOptionsFromJSON" in PublicKeyCredential;

/** Makes a passkey. @param {PublicKeyCredentialCreationOptionsJSON} options */
export async function makePasskey(options) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const made = await navigator.credentials.create({ publicKey }).catch(refuse);
  return /** @type {PublicKeyCredential} */ (made).toJSON();
}

/**
 * Has the person choose a passkey.
 * @param {PublicKeyCredentialRequestOptionsJSON} options
 * @param {{ mediation?: "conditional", signal?: AbortSignal }} [how] conditional: the browser offers it where the e-mail address is typed
 */
export async function usePasskey(options, how = {}) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const used = await navigator.credentials.get({ ...how, publicKey }).catch(refuse);
  return /** @type {PublicKeyCredential} */ (used).toJSON();
}

/** What browsers say, in words. @param {Error} error @returns {never} */
function refuse({ name }) {
  const texts = /** @type {Record<string, string>} */ ({
    InvalidStateError: "This device has a passkey for your account already.",
    NotAllowedError: "No passkey was used: it was cancelled, or took too long. Try again.",
    SecurityError: "Passkeys do not work at this address. Sign in another way.",
  });
  throw new Refused(texts[name] ?? "The passkey did not work. Try again, or sign in another way.", name);
}
