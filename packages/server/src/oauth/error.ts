import { type ErrorCode, errors as numbers } from "@gatehouse/protocol";
import type { FastifyReply } from "fastify";
import type { Refusal } from "../refusal.ts";

/** Every error that the OAuth endpoints answer with (RFC 6749 §5.2, 7591 §3.2.2, 8628 §3.5, 8707 §2): its stable code, and what to do next. */
const errors = {
  invalid_request: { code: "INVALID_PARAMS", says: "A parameter is missing, repeated or not in its form." },
  invalid_client: { code: "UNAUTHENTICATED", says: "There is no such client. The command line is the client `me`." },
  invalid_grant: { code: "UNAUTHENTICATED", says: "The code or token is wrong, used, expired or revoked. Sign in again." },
  unauthorized_client: { code: "FORBIDDEN", says: "This client may not use this grant type." },
  unsupported_grant_type: {
    code: "INVALID_PARAMS",
    says: "This server has no such grant type. /.well-known/oauth-authorization-server lists them.",
  },
  invalid_scope: { code: "INVALID_PARAMS", says: "A scope is unknown, or exceeds what was allowed." },
  invalid_target: { code: "INVALID_PARAMS", says: "The resource is none of this server's." },
  authorization_pending: { code: "UNAUTHENTICATED", says: "The person has not answered yet. Ask again after the interval." },
  slow_down: { code: "RATE_LIMITED", says: "Asked too often. Wait five seconds longer between two times." },
  expired_token: { code: "UNAUTHENTICATED", says: "The device code is too old. Begin again." },
  invalid_redirect_uri: {
    code: "INVALID_PARAMS",
    says: "Name 1 to 10 redirect_uris: https, http on 127.0.0.1, [::1] or localhost, or a reverse-domain scheme such as com.example.app:/callback; no fragment.",
  },
  invalid_client_metadata: { code: "INVALID_PARAMS", says: "Send a JSON object with redirect_uris and client_name, as RFC 7591 has it." },
  access_denied: { code: "FORBIDDEN", says: "The person said no." },
  temporarily_unavailable: { code: "UNAVAILABLE", says: "The server can't answer at the moment. Try again in a few seconds." },
  server_error: { code: "INTERNAL_ERROR", says: "The server failed to answer. Report the requestId to its operator." },
} as const satisfies Record<string, { code: ErrorCode; says: string }>;

/** Those that have another status than 400: a client that failed to prove who it is, and what is the server's fault. */
const statuses: Partial<Record<OAuthErrorName, number>> = { temporarily_unavailable: 503, server_error: 500 };

export type OAuthErrorName = keyof typeof errors;

interface Told {
  /** What to do about it, where that is more than what the error always says. */
  says?: string;
  /** Seconds to wait: the answer is 429. */
  retryAfter?: number;
  /** The HTTP status, where it is not the error's own. */
  status?: number;
  /** What is told besides, such as the permissions that are missing. */
  details?: Refusal["details"];
  code?: ErrorCode;
}

/** A refusal of an OAuth endpoint. */
export class OAuthError extends Error {
  override readonly name = "OAuthError";
  readonly error: OAuthErrorName;
  readonly #told: Told;

  constructor(error: OAuthErrorName, told: Told = {}) {
    super(told.says ?? errors[error].says);
    this.error = error;
    this.#told = told;
  }

  /** The HTTP status. */
  get status(): number {
    return this.#told.retryAfter === undefined ? (this.#told.status ?? statuses[this.error] ?? 400) : 429;
  }

  /** Answers with it. */
  send(reply: FastifyReply, requestId: string): FastifyReply {
    const { retryAfter, details, code = errors[this.error].code } = this.#told;
    if (retryAfter !== undefined) reply.header("retry-after", retryAfter);
    const body = { error: this.error, error_description: ascii(this.message), code, requestId, ...details };
    return reply.code(this.status).send(body);
  }
}

/** What an error description may hold (RFC 6749 §5.2). */
const ascii = (text: string): string => text.replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'");

/** What HTTP has a status for. */
const OF_HTTP: ReadonlySet<ErrorCode> = new Set([
  "METHOD_NOT_ALLOWED",
  "REQUEST_TIMEOUT",
  "PAYLOAD_TOO_LARGE",
  "URI_TOO_LONG",
  "UNSUPPORTED_MEDIA_TYPE",
]);

/** What is refused on the path of a call, or before it, in the words of OAuth (RFC 6749 §5.2, RFC 8693 §2.2.2). */
export function fromRefusal({ code, message, details }: Refusal): OAuthError {
  const told = { says: message, details, code };
  if (code === "UNAUTHENTICATED") return new OAuthError("invalid_client", { ...told, status: 401 });
  if (code === "FORBIDDEN") return new OAuthError("invalid_scope", told);
  if (code === "NOT_FOUND") return new OAuthError("invalid_target", told);
  if (code === "UNAVAILABLE") return new OAuthError("temporarily_unavailable", told);
  if (code === "INTERNAL_ERROR") return new OAuthError("server_error", told);
  if (code === "RATE_LIMITED") return new OAuthError("slow_down", { ...told, status: 429 });
  return new OAuthError("invalid_request", OF_HTTP.has(code) ? { ...told, status: numbers[code].number } : told);
}

/** Words of better-auth's for what has one here. */
const others: Record<string, OAuthErrorName> = { invalid_user: "invalid_grant", invalid_token: "invalid_grant" };

/** What better-auth refused with. */
export function toOAuthError(error: string): OAuthError {
  return new OAuthError(others[error] ?? (Object.hasOwn(errors, error) ? (error as OAuthErrorName) : "invalid_request"));
}
