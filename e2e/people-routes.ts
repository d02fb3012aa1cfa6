import { z } from "zod";
import { routes } from "../packages/server/src/people/routes.ts";
import { expectClean } from "./clean.ts";

export { routes };
export type Route = (typeof routes)[number];

/** A value for each field that any route takes, which its schema takes: `more` are those that must be real. */
export const valuesFor = (email: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  email,
  password: "correct horse battery staple",
  newPassword: "another password, quite long",
  token: "t",
  name: "Laptop",
  id: "0197f0c0-0000-7000-8000-000000000000",
  provider: "corp",
  callbackURL: "/account",
  errorCallbackURL: "/account",
  disableRedirect: true,
  accept: false,
  oauth_query: "prompt=consent&sig=x",
  user_code: "ABCDEFGH",
  userCode: "ABCDEFGH",
  response: {
    id: "cGFzc2tleQ",
    rawId: "cGFzc2tleQ",
    type: "public-key",
    response: { clientDataJSON: "e30", authenticatorData: "e30", signature: "e30", attestationObject: "e30" },
    clientExtensionResults: {},
  },
  ...more,
});

/** What a route is sent: a value for all that its schema asks for. @param query of those that take any, by their path */
export function inputOf(
  { path, takes }: Route,
  values: Record<string, unknown>,
  query: Record<string, Record<string, string>>,
): Record<string, unknown> {
  if (!(takes instanceof z.ZodObject)) return { ...query[path] };
  const needed = Object.entries(takes.shape).filter(([name, type]) => name === "oauth_query" || !(type instanceof z.ZodOptional));
  const input = Object.fromEntries(needed.map(([name]) => [name, values[name]]));
  const { error } = takes.safeParse(input);
  if (error) throw new Error(`There are no values for ${path}: ${error.message}`);
  return input;
}

/** Asks at a route. */
export async function sendTo(server: string, route: Route, input: Record<string, unknown>, headers: Record<string, string> = {}) {
  const url = new URL(`/api/auth${route.path.replace(":id", "corp")}`, server);
  const init: RequestInit = { method: route.method, headers: { ...headers, "content-type": "application/json" }, redirect: "manual" };
  if (route.method === "POST") init.body = JSON.stringify(input);
  else url.search = new URLSearchParams(input as Record<string, string>).toString();
  const answer = await fetch(url, init);
  const text = await answer.text();
  expectClean(text);
  return { status: answer.status, code: text && JSON.parse(text)?.code, text };
}
