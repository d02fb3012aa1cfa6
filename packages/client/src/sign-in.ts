import { GatehouseError } from "./error.ts";
import { reach, refusalOf, type Target } from "./transport.ts";

/**
 * Signs a person in. @returns the Bearer token of the session
 * @throws GatehouseError UNAUTHENTICATED when address or password is wrong, RATE_LIMITED
 */
export async function signIn(target: Target, email: string, password: string): Promise<string> {
  const answer = await send(target, "/api/auth/sign-in/email", { email, password });
  const token = answer.headers.get("set-auth-token");
  if (!token) throw new GatehouseError("BAD_ANSWER", `${target.server} signed you in, but sent no session. Check the address.`);
  return decodeURIComponent(token);
}

/** Ends the session that the target's credential is. */
export async function signOut(target: Target): Promise<void> {
  await send(target, "/api/auth/sign-out", {});
}

async function send(target: Target, path: string, body: object): Promise<Response> {
  const answer = await reach(target, path, body);
  if (!answer.ok) throw await refusalOf(target, answer);
  return answer;
}
