/**
 * Every error Gatehouse answers with, in one table: the stable string of `error.data.code`, the
 * number of `error.code`, and the default sentence. Protocol errors keep the numbers of JSON-RPC
 * 2.0 §5.1; application errors carry the matching HTTP status. A code, once published, never changes.
 */
export const errors = {
  PARSE_ERROR: { number: -32700, message: "The request body is not valid JSON." },
  INVALID_REQUEST: { number: -32600, message: "The JSON is not a valid JSON-RPC 2.0 request." },
  METHOD_NOT_FOUND: { number: -32601, message: "There is no such method. rpc.discover lists the methods you may call." },
  INVALID_PARAMS: { number: -32602, message: "The params do not fit the method's schema." },
  INTERNAL_ERROR: { number: -32603, message: "The server failed to answer. Report the requestId to its operator." },
  UNAUTHENTICATED: {
    number: 401,
    message: "The credential is missing, invalid, expired or revoked. Sign in, or send a valid key as a Bearer token.",
  },
  FORBIDDEN: { number: 403, message: "You may not do this." },
  NOT_FOUND: { number: 404, message: "There is nothing here by that name that you may see." },
  METHOD_NOT_ALLOWED: { number: 405, message: "This address takes POST only." },
  REQUEST_TIMEOUT: { number: 408, message: "The request body did not arrive in time." },
  CONFLICT: { number: 409, message: "That is taken already." },
  SESSION_CLOSED: { number: 409, message: "This session is closed. Start another: session.create." },
  SESSION_EXPIRED: { number: 409, message: "This session has expired. Start another: session.create." },
  LEASE_LOST: { number: 409, message: "This run is not yours any more: lease another (run.lease)." },
  LIMIT_REACHED: {
    number: 409,
    message: "There are as many of these as the server's limits allow. Delete some, or ask its operator for more.",
  },
  LAST_ADMIN: { number: 409, message: "A space always keeps a user who is admin. Make somebody else admin first." },
  PAYLOAD_TOO_LARGE: { number: 413, message: "The request body is too large." },
  URI_TOO_LONG: { number: 414, message: "The address of the request is too long: 8,192 characters at most. Send less in its query." },
  UNSUPPORTED_MEDIA_TYPE: { number: 415, message: "Send the request in the Content-Type that this address takes: the message names it." },
  ANSWER_TOO_LARGE: {
    number: 413,
    message: "The answers before this one are as large as those of a batch may be. Ask for this in a request of its own.",
  },
  RATE_LIMITED: { number: 429, message: "Too many requests. Wait for the seconds named in Retry-After." },
  UNAVAILABLE: { number: 503, message: "The server can't answer at the moment. Try again in a few seconds." },
} as const satisfies Record<string, { number: number; message: string }>;

/** The stable name of an error. */
export type ErrorCode = keyof typeof errors;

/** Why a call was refused with FORBIDDEN: the part of the actor that the rule did not accept. `stranger` goes with NOT_FOUND: not in the space. */
export type DenialReason =
  | "stranger"
  | "user-only"
  | "interactive-only"
  | "ceiling"
  | "token"
  | "service"
  | "scope"
  | "owner-left"
  | "no-rule"
  | "permission"
  | "exceeds"
  | "borrowed"
  | "browser";

/** `error.data` of every error answer. */
export interface ErrorData {
  code: ErrorCode;
  /** Names this call in the server's log and trace; the value of X-Request-Id. */
  requestId: string;
  /** FORBIDDEN: why. */
  reason?: DenialReason;
  /** FORBIDDEN for want of a permission: any one of these would have been enough. */
  missing?: string[];
  /** FORBIDDEN for want of a permission: the first layer of the caller's authority that lacked it. */
  layer?: string;
  /** FORBIDDEN for want of a permission: who could give it, by name, where the caller may know. */
  grantors?: string[];
  /** RATE_LIMITED, where it is known: seconds to wait, as in Retry-After. */
  retryAfter?: number;
  /** INVALID_PARAMS: what is wrong, by path. Never holds a value that was sent. */
  issues?: { path: string; message: string }[];
}
