import { type ErrorCode, type ErrorData, errors, type RpcError } from "@gatehouse/protocol";
import { QueueFullError } from "./fair-semaphore.ts";
import { isUnreachable } from "./unreachable.ts";

/** A refusal that the caller may read: thrown anywhere on the path of a call, answered by its end. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly code: ErrorCode;
  readonly details: Omit<ErrorData, "code" | "requestId">;
  /** The space that the params named, for its record alone. */
  readonly spaceId: string | undefined;

  /**
   * @param options.cause why, for the log alone: it never reaches the caller
   * @param options.spaceId where it was refused, if the caller is there but did not come in by that space's door
   */
  constructor(
    code: ErrorCode,
    message: string = errors[code].message,
    details: Refusal["details"] = {},
    { spaceId, ...options }: ErrorOptions & { spaceId?: string } = {},
  ) {
    super(message, options);
    this.code = code;
    // Where nothing in the params is named, they are wrong as a whole.
    this.details = code === "INVALID_PARAMS" ? { issues: [{ path: "", message }], ...details } : details;
    this.spaceId = spaceId;
  }

  /** The error object of the answer. */
  toRpcError(requestId: string): RpcError {
    return {
      code: errors[this.code].number,
      message: this.message,
      data: { code: this.code, requestId, ...this.details },
    };
  }
}

/** The one refusal of whatever proves nobody; why is for the log. */
export const unauthenticated = (cause: string) => new Refusal("UNAUTHENTICATED", undefined, {}, { cause });

/** Catches what proves nobody: then it is nobody's. All else is thrown on. */
export function nobody(thrown: unknown): undefined {
  if (!(thrown instanceof Refusal && thrown.code === "UNAUTHENTICATED")) throw thrown;
}

/** Said alike where there is no such space, and where the caller is not in it. */
export const STRANGER = "You are in no such space. `me space list` shows those you are in.";

function limitReached(next: string): Refusal {
  return new Refusal("LIMIT_REACHED", `${next}, or ask the server's operator to raise it (LIMITS).`);
}

/** What the breach of a constraint in the schema means to a caller, by the constraint's name. */
const constraints: Record<string, Refusal> = {
  agent_name: new Refusal("CONFLICT", "You already have an agent of that name. Choose another, or rename that one."),
  api_key_name: new Refusal("CONFLICT", "There is already a key of that name. Choose another, or revoke that one."),
  user_email_key: new Refusal("CONFLICT", "There is already an account with that e-mail address."),
  group_name: new Refusal("CONFLICT", "There is already a group of that name in the space."),
  invite_email: new Refusal("CONFLICT", "That address is invited already. Revoke the open invitation first."),
  passkey_credentialID_key: new Refusal("CONFLICT", "This passkey is registered here already. Make a new one."),
  owner_can_own: new Refusal("CONFLICT", "A group that owns agents stays: transfer or delete them first. One that is gone can own none."),
  last_admin: new Refusal("LAST_ADMIN"),
  limit_spaces: limitReached("You have made as many spaces as the limit allows. Delete one"),
  limit_agents: limitReached("This owner has as many agents as the limit allows. Delete one, or give it to somebody else"),
  limit_keys: limitReached("There are as many keys of this owner as the limit allows. Revoke one"),
  limit_tokens: limitReached(
    "As many tokens of yours live as the limit allows. Use one that you have, revoke some, or wait until some have expired",
  ),
  limit_groups: limitReached("The space has as many groups as the limit allows. Delete one"),
  limit_members: limitReached("The space, or the group, has as many members as the limit allows. Remove one"),
  limit_grants: limitReached("The space has as many grants as the limit allows. Revoke some, or grant to a group what its members share"),
  limit_invitations: limitReached(
    "The space has as many open invitations as the limit allows. Revoke one, or wait until some have expired",
  ),
};

/** A row that is referred to was deleted at the same moment (SQLSTATE 23503): by default the one that the params named. */
const FOREIGN_KEY = "23503";
const KEY_GONE = /_key_id_fkey$/;
/** Two changes each waited for the other, and this one gave way (class 40). */
const GAVE_WAY = /^40/;

/** What fits the schema of the params, but nothing that is kept, by SQLSTATE: a number too large, a NUL, half of a surrogate pair. */
const NUMBER_TOO_LARGE = "22003";
const NO_TEXT = new Set(["22P05", "22021"]);
const NO_JSON = "22P02";
/** A moment that no calendar of the database has, or no time zone. */
const NO_MOMENT = new Set(["22007", "22008", "22009"]);

const MUST_WAIT = "Too many of your calls wait for the database. Wait for the seconds named in retryAfter, and send fewer at a time.";

/** Turns whatever was thrown into what the caller may know of it. The original stays as its `cause`. */
export function toRefusal(thrown: unknown): Refusal {
  if (thrown instanceof Refusal) return thrown;
  if (thrown instanceof QueueFullError) return new Refusal("RATE_LIMITED", MUST_WAIT, { retryAfter: 1 }, { cause: thrown });
  const { code, constraint_name: constraint } = thrown as { code?: unknown; constraint_name?: unknown };
  const known = typeof constraint === "string" ? constraints[constraint] : undefined;
  if (known) return new Refusal(known.code, known.message, {}, { cause: thrown });
  const told = racedRefusal(code, constraint) ?? unfitRefusal(thrown as UnfitError);
  if (told) return new Refusal(told.code, told.message, {}, { cause: thrown });
  return new Refusal(isUnreachable(thrown) ? "UNAVAILABLE" : "INTERNAL_ERROR", undefined, {}, { cause: thrown });
}

/** A NUL, or half of a surrogate pair, as JSON escapes them. */
const UNFIT = /\\u(?:0000|d[89a-f])/g;

/** @param json of `JSON.stringify` @throws Refusal INVALID_PARAMS where it holds text that can't be kept */
export function mustFit(json: string): void {
  for (const { index } of json.matchAll(UNFIT)) {
    // After an odd number of other backslashes it is one that is escaped itself. No pattern counts a long run of them quickly.
    let before = index;
    while (json[before - 1] === "\\") before--;
    if ((index - before) % 2 === 0) throw unfitText();
  }
}

const unfitText = () =>
  new Refusal("INVALID_PARAMS", "Text in the params holds a NUL, or half of a surrogate pair (RFC 8259 §8.2): leave it out.");

interface UnfitError {
  code?: unknown;
  detail?: string;
}

function unfitRefusal({ code, detail = "" }: UnfitError): Refusal | undefined {
  if (code === NUMBER_TOO_LARGE) return new Refusal("INVALID_PARAMS", "A number in the params is too large.");
  if (NO_MOMENT.has(String(code))) return new Refusal("INVALID_PARAMS", "A moment in the params is too early, or too late, to be kept.");
  if (NO_TEXT.has(String(code)) || (code === NO_JSON && detail.includes("surrogate"))) return unfitText();
  return undefined;
}

function racedRefusal(code: unknown, constraint: unknown): Refusal | undefined {
  if (code === FOREIGN_KEY)
    return KEY_GONE.test(String(constraint))
      ? new Refusal("CONFLICT", "The key that this goes back to was revoked at the same moment. Nothing was changed.")
      : new Refusal("NOT_FOUND", "What this is about was deleted at the same moment. Nothing was changed.");
  if (typeof code === "string" && GAVE_WAY.test(code))
    return new Refusal("CONFLICT", "Somebody changed the same at the same moment. Nothing was changed; try again.");
  return undefined;
}
