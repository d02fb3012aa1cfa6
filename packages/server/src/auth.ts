import { kyselyAdapter } from "@better-auth/kysely-adapter";
import { betterAuth } from "better-auth/minimal";
import { bearer } from "better-auth/plugins/bearer";
import { Kysely, PostgresDialect } from "kysely";
import { Pool } from "pg";
import { uuidv7 } from "uuidv7";
import { startQuerySpan } from "./telemetry.ts";

/** The header in which the door hands better-auth the caller's address: set by the door, never taken from outside. */
export const ADDRESS_HEADER = "x-gatehouse-address";

/** Shortest password a person may choose. */
export const MIN_PASSWORD_LENGTH = 12;

const POOL_SIZE = 4;
const CONNECT_TIMEOUT_MS = 10_000;
const SESSION_SECONDS = 30 * 24 * 3600;

export type Auth = ReturnType<typeof createAuth>["auth"];

/** How people sign in: better-auth on schema `auth` of the same database, where a user's id is the principal's id. */
export function createAuth(options: { address: string; secret: string; publicUrl: string; origins: string[] }) {
  // A pool of its own, of the driver that better-auth is made for: it wants Dates, and no renamed columns.
  const pool = new Pool({ connectionString: options.address, max: POOL_SIZE, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  pool.on("error", () => {}); // an idle connection was lost: the next query takes another
  const db = new Kysely<never>({
    dialect: new PostgresDialect({ pool }),
    log: ({ query, queryDurationMillis }) => startQuerySpan(query.sql, Date.now() - queryDurationMillis).end(),
  }).withSchema("auth");
  const auth = betterAuth({
    appName: "Gatehouse",
    baseURL: options.publicUrl,
    basePath: "/api/auth",
    secret: options.secret,
    trustedOrigins: options.origins,
    database: kyselyAdapter(db, { type: "postgres", transaction: true }),
    advanced: {
      database: { generateId: () => uuidv7() },
      ipAddress: { ipAddressHeaders: [ADDRESS_HEADER] },
      cookiePrefix: "gatehouse",
    },
    emailAndPassword: { enabled: true, disableSignUp: true, minPasswordLength: MIN_PASSWORD_LENGTH },
    session: { expiresIn: SESSION_SECONDS, updateAge: 24 * 3600 },
    rateLimit: { enabled: true, storage: "database", customRules: { "/sign-in/email": { window: 60, max: 10 } } },
    // Whoever holds a copy of the database but not the secret holds no session: unsigned tokens are refused.
    plugins: [bearer({ requireSignature: true })],
    telemetry: { enabled: false },
    logger: { disabled: true },
  });
  return { auth, close: () => pool.end() };
}
