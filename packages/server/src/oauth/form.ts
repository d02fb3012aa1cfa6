import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { textOf } from "../body.ts";
import type { House } from "../house.ts";
import { mustFit, Refusal } from "../refusal.ts";
import { OAuthError } from "./error.ts";

/** Most fields of one form. */
const MAX_FIELDS = 64;

/** The parameters of a request. */
export type Form = Readonly<Record<string, string>>;

/** Answers a form that a program sent. @throws OAuthError, Refusal */
export type Endpoint = (house: House, request: FastifyRequest, form: Form) => Promise<object | undefined>;

/** @throws OAuthError where there were too many */
export async function count(counted: Promise<number>): Promise<void> {
  const retryAfter = await counted;
  if (retryAfter > 0)
    throw new OAuthError("slow_down", { retryAfter, says: "Too many requests. Wait for the seconds named in Retry-After." });
}

/** A parameter comes once, and one without a value did not come (RFC 6749 §3.2). @throws OAuthError, Refusal */
export function readForm(request: FastifyRequest): Form {
  if (!/^application\/x-www-form-urlencoded\b/i.test(request.headers["content-type"] ?? ""))
    throw new OAuthError("invalid_request", { says: "Send the parameters as application/x-www-form-urlencoded." });
  const text = textOf(request);
  if (text.split("&", MAX_FIELDS + 1).length > MAX_FIELDS)
    throw new Refusal("PAYLOAD_TOO_LARGE", `The form has more than ${MAX_FIELDS} fields. Send fewer.`);
  const params = [...new URLSearchParams(text)].filter(([, value]) => value);
  const form = Object.fromEntries(params);
  mustFit(JSON.stringify(params));
  if (Object.keys(form).length < params.length) throw new OAuthError("invalid_request");
  return form;
}

/** Takes the parameters that a grant needs. @throws OAuthError invalid_request */
export function need<T extends z.ZodRawShape>(form: Form, shape: T): z.infer<z.ZodObject<T>> {
  const read = z.object(shape).safeParse(form);
  if (read.success) return read.data;
  const missing = read.error.issues.map(({ path }) => path.join("."));
  throw new OAuthError("invalid_request", { says: `Send ${[...new Set(missing)].join(", ")}, each once.` });
}
