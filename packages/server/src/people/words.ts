import { Refusal } from "../refusal.ts";
import { FOREIGN_ORIGIN } from "./hand-over.ts";

const link = new Refusal("INVALID_PARAMS", "This link is wrong, used or too old. Ask for another one.");
const stale = new Refusal(
  "INVALID_PARAMS",
  "This sign-in took too long, or its address was changed. Begin again in the program that you came from.",
);
/** For what outlives a session, such as a new passkey. */
export const fresh = new Refusal("FORBIDDEN", "Sign in again first: this takes a fresh sign-in.");
/** For who proved what stood then, and does not now. */
export const overtaken = new Refusal(
  "UNAUTHENTICATED",
  "You were signed out meanwhile, or what you signed in by was changed. Sign in again.",
);
const passkey = new Refusal(
  "UNAUTHENTICATED",
  "This passkey is not known here, or was not confirmed in time. Try again, or sign in another way.",
);
const code = new Refusal("NOT_FOUND", "There is no such code, or it is too old. Look at the program that showed it.");
const origin = new Refusal("FORBIDDEN", FOREIGN_ORIGIN);

/** What better-auth's refusals mean here, by its code or what its OAuth part calls an error. */
const refusals: Record<string, Refusal> = {
  INVALID_EMAIL_OR_PASSWORD: new Refusal("UNAUTHENTICATED", "The e-mail address or the password is wrong."),
  EMAIL_NOT_VERIFIED: new Refusal("FORBIDDEN", "Confirm your e-mail address first: open the link in the mail, or ask for another."),
  NOT_SIGNED_UP: new Refusal(
    "UNAUTHENTICATED",
    "This is not the password of the last sign-up with this address. If you do not know that one, choose a new password by mail.",
  ),
  EMAIL_ALREADY_VERIFIED: new Refusal("CONFLICT", "This address is confirmed already."),
  INVALID_TOKEN: link,
  TOKEN_EXPIRED: link,
  USER_NOT_FOUND: link,
  SESSION_NOT_FRESH: fresh,
  SESSION_EXPIRED: fresh,
  CHALLENGE_NOT_FOUND: passkey,
  PASSKEY_NOT_FOUND: passkey,
  AUTHENTICATION_FAILED: passkey,
  FAILED_TO_VERIFY_REGISTRATION: passkey,
  ACCOUNT_NOT_FOUND: new Refusal("NOT_FOUND", "No such account is connected with yours. Load the page again."),
  FAILED_TO_UNLINK_LAST_ACCOUNT: new Refusal(
    "CONFLICT",
    "You have no password, and no other account is connected: choose a password by mail first, then disconnect this one.",
  ),
  PROVIDER_NOT_FOUND: new Refusal("NOT_FOUND", "This server knows no such provider."),
  INVALID_ORIGIN: origin,
  MISSING_OR_NULL_ORIGIN: origin,
  CROSS_SITE_NAVIGATION_LOGIN_BLOCKED: origin,
  invalid_signature: stale,
  "missing oauth query": stale,
  expired_token: code,
  "Invalid user code": code,
  "Device code already processed": new Refusal("CONFLICT", "This code was answered already."),
  access_denied: new Refusal("FORBIDDEN", "Somebody else has opened this code. Begin again in the program that showed it."),
};

/** By status, where there is no word for it. */
const byStatus: Record<number, Refusal> = {
  400: new Refusal("INVALID_PARAMS", "What was sent does not fit. Load the page again."),
  401: new Refusal("UNAUTHENTICATED", "Sign in first."),
  403: new Refusal("FORBIDDEN"),
  404: new Refusal("NOT_FOUND"),
};

/** What better-auth refused with, in our words. @param text of its answer */
export function refusalOf(status: number, text: string): Refusal {
  const { code, error_description, error } = saidBy(text);
  const known = [code, error_description, error].map((word) => (word ? refusals[word] : undefined)).find(Boolean);
  return (
    known ?? byStatus[status] ?? new Refusal("INTERNAL_ERROR", undefined, {}, { cause: `better-auth answered ${status} ${wordOf(text)}` })
  );
}

/** What the page is told that a browser is led to: a word of better-auth's or of a provider's, never a sentence. */
export function wordOf(text: string): string {
  const { code, error } = saidBy(text);
  return /^\w{1,64}$/.exec(code ?? error ?? "")?.[0].toLowerCase() ?? "failed";
}

function saidBy(text: string): { code?: string; error?: string; error_description?: string } {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
