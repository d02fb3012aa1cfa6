import type { FastifyRequest } from "fastify";
import { z } from "zod";
import type { House } from "../house.ts";
import { RedirectUri } from "../oauth/register.ts";
import { isResourceOf, knownScope } from "../oauth/resource.ts";
import { LOGIN_SCOPES } from "../oauth/scopes.ts";
import { Refusal } from "../refusal.ts";
import { type Question, signedIn } from "./hand-over.ts";
import type { LimitName } from "./limits.ts";
import { COMMAND_LINE } from "./login.ts";
import { byPasskey, byPassword, byProvider, inSession, type Proof } from "./proofs.ts";
import { Email, endSession, NewUser, Password } from "./users.ts";
import { fresh } from "./words.ts";

/** A route of better-auth that is open: what it takes, and what is counted. */
interface Route {
  method: "GET" | "POST";
  path: string;
  /** What it takes: of the body where it is a POST, else of the query. Nothing else reaches better-auth. */
  takes: z.ZodType<Record<string, unknown>>;
  limit?: LimitName;
  /** The account that is tried: the e-mail address given, or who is signed in. */
  account?: "email" | "session";
  /** It takes a proof of who somebody is, rather than a session. */
  proves?: true;
  /** Checks the proof again, once better-auth has begun something by it. */
  proof?: Proof;
  /** It has a share of an address's rate of its own. */
  reserved?: true;
  /** Refuses what this server, as it is set up, can't do. */
  check?(house: House): void;
  /** How better-auth is asked, where not by the same name and fields. */
  asks?(input: Record<string, unknown>, house: House, request: FastifyRequest): Partial<Question> | Promise<Partial<Question>>;
  /** For browsers that follow a link here: the answer is where they go next. */
  navigates?: boolean;
  /** A word for the page that says what is wrong with such a link, where better-auth would not notice, or too late. */
  flaw?(input: Record<string, unknown>): string | undefined;
  /** It is done after its answer, which is the same for all: how long it takes would tell whether there is such an account. */
  later?: boolean;
  /** It hashes a password: that is bounded for all together. */
  hashes?: boolean;
  /** The answer may lead to another site: the person was asked, or signs in there. */
  leaves?: boolean;
}

const Token = z.string().min(1).max(4096);
/** The query of a page that better-auth sent somebody to in the middle of signing a program in: signed by it. */
const OAuthQuery = z
  .string()
  .max(8192)
  // A person is asked before a program gets in, also where better-auth has taken the prompt out on the way.
  .refine(
    (query) => new URLSearchParams(query).getAll("prompt").join() === "consent",
    "must lead to the question whether to allow the program",
  );
const oauth_query = OAuthQuery.optional();
/** Most characters of a program's request to sign in, encoded. */
const MAX_REQUEST = 6144;
/** Most characters of what it becomes: as `ba_param`, the names of its parts stand there again. With what signs it, it fits in `oauth_query` and an address. */
const MAX_CARRIED = 7168;
/** A page of ours, and of nobody else: as a browser writes it in an address. */
const Page = z
  .string()
  .max(16_384, { abort: true })
  .regex(/^\/(?![/\\])[!-~]*$/, "must be a path, percent-encoded");
/** What a browser made of a passkey: better-auth checks it. */
const Ceremony = z.looseObject({ id: z.string().max(2048) });
const PasskeyId = z.uuidv7("must be the id of a passkey");
const Nothing = z.object({});

/** The parameters of a program's request to sign in that are read (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2); the rest is ignored, as §3.1 has it. */
const AUTHORIZE = new Set([
  "response_type",
  "client_id",
  "redirect_uri",
  "scope",
  "state",
  "code_challenge",
  "code_challenge_method",
  "resource",
]);

/** How long after signing in a session may do what outlives it: as better-auth has it, for passkeys. */
const FRESH_MS = 24 * 3600 * 1000;

/** Every route that is open. The rest of better-auth is not part of this API. */
export const routes: readonly Route[] = [
  { method: "GET", path: "/get-session", takes: Nothing },
  {
    method: "POST",
    path: "/sign-in/email",
    takes: z.strictObject({ email: Email, password: z.string(), oauth_query }),
    limit: "signIn",
    account: "email",
    hashes: true,
    proves: true,
    proof: byPassword,
    reserved: true,
  },
  {
    method: "POST",
    path: "/sign-out",
    takes: Nothing,
    reserved: true,
    // It says that it ended a session also where it could not: it only takes the cookies back.
    asks: async (_input, house, request) => {
      await end(house, request);
      return { signedIn: false };
    },
  },
  {
    method: "POST",
    path: "/revoke-other-sessions",
    takes: Nothing,
    // It would leave what was signed in by them.
    asks: async (_input, house, request) => {
      await endOthers(house, request);
      return {};
    },
  },
  { method: "POST", path: "/sign-up/email", takes: NewUser, limit: "mail", account: "email", hashes: true, later: true, check: mustBeOpen },

  {
    method: "POST",
    path: "/sign-in/social",
    takes: z.strictObject({
      provider: z.string().max(32),
      callbackURL: Page.optional(),
      errorCallbackURL: Page.optional(),
      disableRedirect: z.boolean().optional(),
      oauth_query,
    }),
    limit: "link",
    leaves: true,
  },
  {
    method: "POST",
    path: "/link-social",
    takes: z.strictObject({ provider: z.string().max(32), callbackURL: Page, errorCallbackURL: Page, disableRedirect: z.literal(true) }),
    limit: "link",
    leaves: true,
    // As a passkey does: what is connected outlives the session.
    asks: async (_input, house, request) => {
      await mustBeFresh(house, request);
      return {};
    },
  },
  {
    method: "POST",
    path: "/unlink-account",
    takes: z.strictObject({ id: z.uuidv7("must be the id of a connected account") }),
    asks: ({ id }) => ({ body: { accountId: id } }),
  },
  { method: "GET", path: "/callback/:id", takes: z.record(z.string(), z.string()), limit: "link", navigates: true, proof: byProvider },

  {
    method: "POST",
    path: "/request-password-reset",
    takes: z.strictObject({ email: Email }),
    limit: "mail",
    account: "email",
    later: true,
    check: mustMail,
  },
  { method: "POST", path: "/reset-password", takes: z.strictObject({ newPassword: Password, token: Token }), limit: "link", hashes: true },
  {
    method: "POST",
    path: "/send-verification-email",
    takes: z.strictObject({ email: Email }),
    limit: "mail",
    account: "email",
    later: true,
    check: mustMail,
  },
  {
    method: "POST",
    path: "/verify-email",
    takes: z.strictObject({ token: Token, password: z.string() }),
    limit: "link",
    hashes: true,
    proves: true,
    // A POST, so that what looks at links in mails confirms nothing, and the token stays out of addresses.
    asks: ({ token, password }) => ({ method: "GET", query: new URLSearchParams({ token: String(token) }), password: String(password) }),
  },

  { method: "GET", path: "/passkey/generate-register-options", takes: Nothing },
  {
    method: "POST",
    path: "/passkey/verify-registration",
    takes: z.strictObject({ response: Ceremony, name: z.string().max(64).optional() }),
    limit: "link",
    proof: inSession,
  },
  { method: "GET", path: "/passkey/generate-authenticate-options", takes: Nothing, limit: "link" },
  {
    method: "POST",
    path: "/passkey/verify-authentication",
    takes: z.strictObject({ response: Ceremony, oauth_query }),
    limit: "link",
    proves: true,
    proof: byPasskey,
    reserved: true,
  },
  { method: "GET", path: "/passkey/list-user-passkeys", takes: Nothing },
  { method: "POST", path: "/passkey/delete-passkey", takes: z.strictObject({ id: PasskeyId }) },
  { method: "POST", path: "/passkey/update-passkey", takes: z.strictObject({ id: PasskeyId, name: z.string().min(1).max(64) }) },

  {
    method: "GET",
    path: "/oauth2/authorize",
    takes: z.record(z.string(), z.string("must not be repeated")),
    navigates: true,
    flaw: (query) => {
      const { redirect_uri } = query;
      if (redirect_uri !== undefined && !RedirectUri.safeParse(redirect_uri).success) return "invalid_redirect";
      return isTooLong(query as Record<string, string>) ? "request_too_long" : undefined;
    },
    // Consent is asked for each time: any program on a machine can say that it is the command line (RFC 8252 §8.6).
    asks: (query, { publicUrl }) => {
      const { resource, scope, ...rest } = Object.fromEntries(Object.entries(query).filter(([name]) => AUTHORIZE.has(name))) as Record<
        string,
        string
      >;
      const known = isResourceOf(publicUrl, rest.client_id, resource);
      const wanted = scope !== undefined && { scope: knownScope(rest.client_id, scope) };
      return { query: new URLSearchParams({ ...rest, ...wanted, ...(!known && { resource }), prompt: "consent" }) };
    },
  },
  {
    method: "POST",
    path: "/oauth2/consent",
    takes: z.strictObject({
      accept: z.boolean(),
      oauth_query: OAuthQuery,
      scope: z.string().max(2048).optional(),
      space: z.string().max(64).optional(),
    }),
    asks: async ({ space, ...body }, house, request) => {
      const own = new URLSearchParams(String(body.oauth_query)).get("client_id") === COMMAND_LINE;
      return { body, ...(body.accept === true && !own && { membership: await chosen(house, request, space) }) };
    },
    leaves: true,
  },

  { method: "GET", path: "/device", takes: z.object({ user_code: z.string().max(64) }), limit: "userCode", account: "session" },
  {
    method: "POST",
    path: "/device/approve",
    takes: z.strictObject({ userCode: z.string().max(64) }),
    limit: "userCode",
    account: "session",
    asks: async ({ userCode }, house, request) => {
      await tieToSession(house, request, String(userCode));
      return {};
    },
  },
  { method: "POST", path: "/device/deny", takes: z.strictObject({ userCode: z.string().max(64) }), limit: "userCode", account: "session" },
];

/** True if a program's request to sign in, or what the pages make of it on the way, is too long to be carried on. */
function isTooLong(query: Record<string, string>): boolean {
  const request = new URLSearchParams(query).toString().length;
  const names = new URLSearchParams(Object.keys(query).map((name) => ["ba_param", name])).toString().length;
  return request > MAX_REQUEST || request + names > MAX_CARRIED;
}

/** The scope of a login that names none (RFC 6749 §3.3). */
export const DEFAULT_SCOPE = LOGIN_SCOPES.join(" ");

/** The person's membership of the space that they chose for a program. @throws Refusal INVALID_PARAMS */
async function chosen(house: House, request: FastifyRequest, slug: unknown): Promise<string> {
  const found = await signedIn(house, request, "POST");
  const [membership] = await house.doors.user.sql<{ id: string }[]>`
    select m.membership as id from live_members l join members m on m.space_id = l.space_id and m.principal_id = l.principal_id
    join spaces s on s.id = m.space_id
    where m.principal_id = ${found?.user.id ?? null} and s.slug = ${String(slug ?? "")}`;
  if (!membership) throw new Refusal("INVALID_PARAMS", "A program acts in one space of yours. Choose which.");
  return membership.id;
}

/** Ends the session of who sends a request. @throws Refusal UNAUTHENTICATED where there is none */
async function end(house: House, request: FastifyRequest): Promise<void> {
  const found = await signedIn(house, request, "POST");
  if (!found)
    throw new Refusal(
      "UNAUTHENTICATED",
      "What was sent proves no session, so there is none to end. A program ends its own login at /api/v1/revoke.",
    );
  const { sql, feed } = house.doors.user;
  await endSession(sql, found.user.id, found.session.id).finally(() => feed.doubt());
}

/** Ties a device code that waits to the session that is about to allow it, with which it ends. @param userCode as better-auth takes it: with or without what divides it, in any case */
async function tieToSession(house: House, request: FastifyRequest, userCode: string): Promise<void> {
  const found = await signedIn(house, request, "POST");
  const plain = userCode.replace(/[^a-zA-Z0-9]/g, "").toUpperCase();
  await house.doors.user.sql`
    update auth."deviceCode" set session_id = ${found?.session.id ?? null}
    where "userCode" in (${userCode}, ${plain}) and status = 'pending' and "userId" = ${found?.user.id ?? null}`;
}

/** Ends all other sessions of who sends a request, if they are signed in. */
async function endOthers(house: House, request: FastifyRequest): Promise<void> {
  const found = await signedIn(house, request, "POST");
  if (!found) return;
  const { sql, feed } = house.doors.user;
  const others = await sql<{ id: string }[]>`select id from auth.session where "userId" = ${found.user.id} and id <> ${found.session.id}`;
  try {
    for (const { id } of others) await endSession(sql, found.user.id, id);
  } finally {
    feed.doubt();
  }
}

/** @throws Refusal FORBIDDEN where who sends a request did not sign in within the last day */
async function mustBeFresh(house: House, request: FastifyRequest): Promise<void> {
  const found = await signedIn(house, request, "POST");
  if (found && Date.now() - found.session.createdAt.getTime() >= FRESH_MS) throw fresh;
}

function mustMail({ mails }: House): void {
  if (!mails) throw new Refusal("UNAVAILABLE", "This server can send no mail. Its operator must set SMTP_URL and MAIL_FROM.");
}

function mustBeOpen(house: House): void {
  if (house.config.signUp === "closed")
    throw new Refusal("FORBIDDEN", "Accounts are made by the operator of this server. Ask them for one.");
  mustMail(house);
}
