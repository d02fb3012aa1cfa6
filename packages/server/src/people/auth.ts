import { AsyncLocalStorage } from "node:async_hooks";
import { kyselyAdapter } from "@better-auth/kysely-adapter";
import { oauthDeviceAuthorization, oauthProvider } from "@better-auth/oauth-provider";
import { passkey } from "@better-auth/passkey";
import { APIError, createAuthMiddleware } from "better-auth/api";
import { hashPassword, verifyPassword } from "better-auth/crypto";
import { betterAuth } from "better-auth/minimal";
import { bearer } from "better-auth/plugins/bearer";
import { CompiledQuery, Kysely, PostgresDialect, type PostgresPoolClient } from "kysely";
import { uuidv7 } from "uuidv7";
import type { Config, OidcProvider } from "../config.ts";
import { loginPrefixes, makeSecret } from "../key.ts";
import type { Line } from "../line.ts";
import { Lines } from "../lines.ts";
import { LOGIN_SCOPES, PROGRAM_SCOPES } from "../oauth/scopes.ts";
import { startQuerySpan } from "../telemetry.ts";
import { hashLogin } from "./login.ts";
import type { SendMail } from "./mail.ts";
import { openIdProviders } from "./providers.ts";

/** The header in which the door hands better-auth the caller's address: set by the door, never taken from outside. */
export const ADDRESS_HEADER = "x-gatehouse-address";

/** Shortest and longest password a person may choose. */
export const PASSWORD_LENGTH = { min: 12, max: 128 };

/** What better-auth is not told, and does not tell, while it is asked something. */
export interface Asked {
  /** The id of the membership by which a program may act for a person: it knows no spaces. */
  membership: string | undefined;
  /** Whether a password may be hashed: that is bounded, and waited for before it is asked. */
  hashes: boolean;
  /** The password of whoever confirms an address: better-auth confirms by the mailed token alone. */
  password?: string | undefined;
  /** What its database failed with, first: it answers all the same, and may take it for "nobody is signed in". */
  failure?: unknown;
  /** Filled with the session or account that its answer begins. */
  began: Began;
}

/** A session or an account that better-auth has begun with an answer, and the password that proved it. */
export interface Began {
  session?: { id: string; userId: string };
  /** An account at a provider that is known from now on. */
  account?: { id: string; userId: string };
  /** The hash of the password that was found to be right. */
  hash?: string;
  /** The account at a provider that was found to be theirs, as it is kept. */
  subject?: string;
}

/** What better-auth is being asked. */
export const asked = new AsyncLocalStorage<Asked>();

const POOL_SIZE = 4;
/** All that asks for a connection of this pool is one party. */
const SIGN_IN = { party: "sign-in", urgent: false };
const DAY = 24 * 3600;
const SESSION_SECONDS = 30 * DAY;
const ACCESS_SECONDS = 3600;
const REFRESH_SECONDS = 30 * DAY;
/** How long a mailed link, a code and a half-finished sign-in are good. */
const LINK_SECONDS = 3600;
const CODE_SECONDS = 600;

/** By what a person, and their agents, can still come in after a new password. */
interface StillGood {
  passkeys: number;
  /** At providers, by which they sign in. */
  accounts: number;
  keys: number;
}

/** Confirms the address of a user who has read its mail. */
const RESET = `
  with confirmed as (update auth."user" set "emailVerified" = true where id = $1)
  select (select count(*)::integer from auth.passkey where "userId" = $1) as passkeys,
         (select count(*)::integer from auth.account where "userId" = $1 and password is null) as accounts,
         (select count(*)::integer from keys_of($1) where coalesce(expires_at > now(), true)) as keys`;

/** Removes the account of an address that nobody has confirmed, and the links that were mailed for it. */
const GIVE_WAY = `
  with gone as (
    delete from auth."user" u where u.email = lower($1) and not u."emailVerified"
      and exists (select from auth.account a where a."userId" = u.id and a.password is not null)
    returning u.id)
  delete from auth.verification v using gone where v.value = gone.id::text`;

const changed = (
  publicUrl: string,
  { passkeys, accounts, keys }: StillGood,
): string => `Your password is changed, and all that was signed in as you is signed out.

Passkeys, connected accounts and keys do not end with a password. Still good: ${passkeys} of your passkeys, ${accounts} connected accounts at other providers, ${keys} API keys of yours and your agents'. If somebody else may have been in your account, sign in and revoke those that you do not know:

${publicUrl}/account

Secret keys of your spaces are still good too, and open invitations, whoever made them: me secretkey list and me invite list show them, me audit who made each.

If you did not change your password, somebody else reads your mail. Secure your mailbox, then choose another password:

${publicUrl}/reset-password`;

/** The person to tell that a provider account was connected with theirs; no row if their account was made by it. */
const CONNECTED = `
  select u.email from auth."user" u
  where u.id = $1 and exists (select from auth.account a where a."userId" = u.id and a.id <> $2)`;

const connected = (
  publicUrl: string,
  provider: string,
): string => `Whoever signs in with your account at ${provider} comes in as you from now on.

If you did not connect it, somebody else may be in your account. Disconnect it, and choose another password:

${publicUrl}/account
${publicUrl}/reset-password`;

/** What signing in needs to know. */
export interface AuthOptions {
  /** Of the database. */
  address: string;
  secret: string;
  publicUrl: string;
  cookieOrigins: string[];
  signUp?: Config["signUp"];
  oidcProviders?: OidcProvider[];
  /** Left out where no mail can be sent. */
  sendMail?: SendMail | undefined;
}

export type Auth = ReturnType<typeof createAuth>["auth"];

/** How people sign in: better-auth on schema `auth` of the same database, where a user's id is the principal's id. */
export function createAuth({ address, secret, publicUrl, cookieOrigins, signUp = "closed", oidcProviders = [], sendMail }: AuthOptions) {
  // A pool of its own: better-auth wants Dates, and no renamed columns.
  const lines = new Lines(address, { common: { connections: POOL_SIZE, most: POOL_SIZE } }, { readMoment: (text) => new Date(text) });
  const db = new Kysely<never>({
    dialect: new PostgresDialect({ pool: { options: {}, connect: () => borrow(lines).catch(noted), end: () => lines.end() } }),
    log: (event) => {
      startQuerySpan(event.query.sql, Date.now() - event.queryDurationMillis).end();
      if (event.level === "error") note(event.error);
    },
  }).withSchema("auth");
  // Tokens stand behind the # of a link: there they reach no log and no Referer.
  const mail = async (to: string, subject: string, text: string, path: string, token: string) =>
    sendMail?.({ to, subject, text: `${text}\n\n${publicUrl}${path}#token=${token}\n\nIf you did not ask for this, do nothing.` });

  const ask = async (text: string, ...values: string[]) => (await db.executeQuery(CompiledQuery.raw(text, values))).rows as unknown[];
  // A sign-up that nobody confirmed may be by somebody who does not read that mail: it gives way to the next.
  const giveWay = async (email: string) => void (await ask(GIVE_WAY, email));
  // The person who reads the mail may not be the one who signed up: the password of the sign-up proves that they are the same.
  const mustHaveSignedUp = async ({ id }: { id: string }) => {
    const [account] = (await ask(`select password from auth.account where "userId" = $1 and password is not null`, id)) as {
      password: string;
    }[];
    const password = asked.getStore()?.password;
    if (!account || password === undefined || !(inTurn() && (await verifyPassword({ hash: account.password, password }))))
      throw new APIError("UNAUTHORIZED", { code: "NOT_SIGNED_UP", message: "This is not the password of the sign-up." });
    // Here, of this very account: meanwhile it may have given way to another of the same address, which better-auth would confirm.
    if ((await ask(`update auth."user" set "emailVerified" = true where id = $1 returning id`, id)).length === 0)
      throw new APIError("UNAUTHORIZED", { code: "INVALID_TOKEN", message: "The account has given way to another." });
  };

  const tellOfAccount = async ({ id, userId, providerId }: { id: string; userId: string; providerId: string }) => {
    const provider = oidcProviders.find((known) => known.id === providerId);
    if (provider) begun({ account: { id, userId } });
    const [person] = provider ? ((await ask(CONNECTED, userId, id)) as { email: string }[]) : [];
    if (provider && person)
      sendMail?.({ to: person.email, subject: "An account is connected with yours", text: connected(publicUrl, provider.name) });
  };

  const secure = new URL(publicUrl).protocol === "https:";
  const auth = betterAuth({
    appName: "Gatehouse",
    baseURL: publicUrl,
    basePath: "/api/auth",
    secret,
    trustedOrigins: cookieOrigins,
    database: kyselyAdapter(db, { type: "postgres", transaction: true }),
    advanced: {
      database: { generateId: () => uuidv7() },
      ipAddress: { ipAddressHeaders: [ADDRESS_HEADER] },
      // Over TLS no other host of the same site can set or read them (RFC 6265bis §4.1.3.2).
      useSecureCookies: false, // else its own prefix, __Secure-, comes before
      cookiePrefix: `${secure ? "__Host-" : ""}gatehouse`,
      defaultCookieAttributes: { secure },
      // Said, since better-auth leaves these checks out where it believes to be in a test.
      disableCSRFCheck: false,
      disableOriginCheck: false,
    },
    emailAndPassword: {
      enabled: true,
      disableSignUp: signUp === "closed",
      requireEmailVerification: true,
      minPasswordLength: PASSWORD_LENGTH.min,
      maxPasswordLength: PASSWORD_LENGTH.max,
      resetPasswordTokenExpiresIn: LINK_SECONDS,
      password: {
        hash: async (password) => inTurn() && hashPassword(password),
        verify: async (both) => {
          const right = inTurn() && (await verifyPassword(both));
          if (right) begun({ hash: both.hash });
          return right;
        },
      },
      sendResetPassword: ({ user, token }) =>
        mail(
          user.email,
          "A new password for Gatehouse",
          "Open this link within an hour to choose a new password:",
          "/reset-password",
          token,
        ),
      // Whoever has read the mail owns the address. Of what does not end with the password, they are told.
      onPasswordReset: async ({ user }) => {
        const [good] = (await ask(RESET, user.id)) as [StillGood];
        sendMail?.({ to: user.email, subject: "Your password at Gatehouse is changed", text: changed(publicUrl, good) });
      },
    },
    hooks: {
      before: createAuthMiddleware(async ({ path, body }) => {
        if (path === "/sign-up/email") await giveWay(body.email);
      }),
    },
    emailVerification: {
      expiresIn: LINK_SECONDS,
      beforeEmailVerification: mustHaveSignedUp,
      sendVerificationEmail: ({ user, token }) =>
        mail(
          user.email,
          "Your address at Gatehouse",
          "Open this link within an hour to confirm your address with the password that you signed up with:",
          "/verify-email",
          token,
        ),
    },
    verification: { storeIdentifier: "hashed" },
    session: { expiresIn: SESSION_SECONDS, updateAge: DAY },
    // Having the address of an account, at a provider, is not having the account: its person connects the two, signed in.
    account: { accountLinking: { disableImplicitLinking: true } },
    // What a provider hands out of its own is never used here, so it is not kept.
    databaseHooks: {
      account: { create: { before: withoutTokens, after: tellOfAccount }, update: { before: withoutTokens } },
      session: { create: { after: async ({ id, userId }) => begun({ session: { id, userId } }) } },
    },
    // What it has no answer to is thrown: it would print it, and answer with an empty 500.
    onAPIError: { errorURL: `${publicUrl}/sign-in`, throw: true },
    rateLimit: { enabled: false }, // limits.ts counts, for each account too
    plugins: [
      // Whoever holds a copy of the database but not the secret holds no session: unsigned tokens are refused.
      bearer({ requireSignature: true }),
      passkey({
        rpName: "Gatehouse",
        rpID: new URL(publicUrl).hostname,
        origin: publicUrl,
        authenticatorSelection: { residentKey: "required", userVerification: "required" },
        authentication: { afterVerification: async ({ verification }) => mustBeVerified(verification.authenticationInfo?.userVerified) },
      }),
      openIdProviders(oidcProviders, async ({ email, subject }) => {
        begun({ subject });
        await giveWay(email);
      }),
      // The OAuth provider takes the issuer's name from the plugin of this id, else it would be the address of this API.
      // The plugin itself is for tokens that it signs, and keeps keys for them: there are none here.
      { id: "jwt", options: { jwt: { issuer: publicUrl } } },
      oauthProvider({
        loginPage: `${publicUrl}/sign-in`,
        consentPage: `${publicUrl}/consent`,
        scopes: [...new Set([...LOGIN_SCOPES, ...PROGRAM_SCOPES])],
        // The space that the person chose: no step of its own, it is asked with the consent.
        postLogin: { page: `${publicUrl}/consent`, shouldRedirect: () => false, consentReferenceId: () => asked.getStore()?.membership },
        grantTypes: ["authorization_code", "refresh_token"],
        codeExpiresIn: CODE_SECONDS,
        accessTokenExpiresIn: ACCESS_SECONDS,
        refreshTokenExpiresIn: REFRESH_SECONDS,
        generateOpaqueAccessToken: async () => makeSecret(loginPrefixes.access),
        generateRefreshToken: async () => makeSecret(loginPrefixes.refresh),
        storeTokens: { hash: async (token) => hashLogin(token) },
        silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
      }),
      oauthDeviceAuthorization({ verificationUri: `${publicUrl}/device`, expiresIn: `${CODE_SECONDS}s`, interval: "5s" }),
    ],
    telemetry: { enabled: false },
    logger: { disabled: true },
  });
  return { auth, close: () => lines.end() };
}

/** Lends Kysely a connection, as it knows one. */
function borrow(lines: Lines): Promise<PostgresPoolClient> {
  return new Promise((resolve, reject) => {
    const lend = async (line: Line) => {
      const { promise: released, resolve: release } = Promise.withResolvers<boolean>();
      const query = async (text: string, parameters: readonly unknown[] = []) => {
        const rows = await line.query(text, [...parameters]);
        return { command: rows.command as "SELECT", rowCount: rows.count, rows };
      };
      resolve({ query, release: (discard = false) => release(discard) } as unknown as PostgresPoolClient);
      if (await released) line.lose(new Error("A transaction on it did not end."));
    };
    lines.lend(SIGN_IN, lend).catch(reject);
  });
}

/**
 * The session that headers prove, and whose it is.
 * @throws what the database failed with, and not better-auth's word for it
 */
export const sessionOf = (auth: Auth, headers: Headers) =>
  auth.api.getSession({ headers }).catch((thrown: Error) => {
    // It ended just when it was to be prolonged.
    if (thrown instanceof APIError && thrown.status === "UNAUTHORIZED") return null;
    throw thrown.cause ?? thrown;
  });

/** @throws Error where a route hashes that does not say so: it would be past the bound on all of them together */
function inTurn(): true {
  if (asked.getStore()?.hashes) return true;
  throw new Error("a password is hashed out of turn");
}

function note(failure: unknown): void {
  const asking = asked.getStore();
  if (asking) asking.failure ??= failure;
}

function noted(failure: unknown): never {
  note(failure);
  throw failure;
}

const begun = (what: Began): void => void Object.assign(asked.getStore()?.began ?? {}, what);

const withoutTokens = async (account: object) => ({ data: { ...account, accessToken: null, refreshToken: null, idToken: null } });

/** A passkey stands for the whole sign-in: having the device is not enough. */
function mustBeVerified(verified: boolean | undefined): void {
  if (!verified) throw new APIError("UNAUTHORIZED", { code: "AUTHENTICATION_FAILED", message: "The person was not verified." });
}
