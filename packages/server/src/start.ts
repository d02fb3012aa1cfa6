import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { spaceApi, userApi } from "@gatehouse/protocol";
import type { Logger } from "pino";
import { createAuthenticate, identify } from "./authenticate.ts";
import { addAuthzen } from "./authzen.ts";
import { Budgets, limitsFrom } from "./budgets.ts";
import { type Config, ConfigError, hostOf, isLoopback } from "./config.ts";
import { openConfiguredDatabase, StartError } from "./database.ts";
import type { Sql } from "./db.ts";
import { Denials } from "./denials.ts";
import { openFeed } from "./feed.ts";
import { closeDoors, openDoors } from "./http.ts";
import { setLimits } from "./limits.ts";
import { SERVER } from "./lines.ts";
import { addMcp, type LoadMcp } from "./mcp/door.ts";
import { spaceRpcHandlers, userRpcHandlers } from "./methods/index.ts";
import { migrate, upToDate } from "./migrate.ts";
import { addOAuth } from "./oauth/doors.ts";
import { addMetadata } from "./oauth/metadata.ts";
import { sweepClients } from "./oauth/register.ts";
import { addAccount } from "./people/account.ts";
import { createAuth } from "./people/auth.ts";
import { addPeople } from "./people/doors.ts";
import { createGuesses } from "./people/guesses.ts";
import { createMailer } from "./people/mail.ts";
import { addPages } from "./people/pages/pages.ts";
import { bindToIssuers } from "./people/providers.ts";
import { ensureLocalOwner, openSession, sweep } from "./people/users.ts";
import { spacePolicy, userPolicy } from "./policy.ts";
import { keptSecret } from "./postgres/place.ts";
import { rememberActors, rememberStandings } from "./remember.ts";
import { createRetention } from "./retention.ts";
import type { Door } from "./rpc.ts";
import { openBell } from "./sessions/bell.ts";
import { addSessions } from "./sessions/door.ts";
import { createEmit } from "./sessions/emit.ts";
import { forgetDeleted } from "./sessions/rows.ts";
import { Streams } from "./sessions/stream.ts";
import { startSweeping } from "./sessions/sweep.ts";
import { openTails } from "./sessions/tails.ts";
import { openWork } from "./sessions/work.ts";
import { enterSpace } from "./standing.ts";
import { createLog, loggable, startTelemetry } from "./telemetry.ts";
import { TrustedIssuers } from "./tokens/issuers.ts";
import { Jwt } from "./tokens/jwt.ts";
import { createReadToken } from "./tokens/read.ts";
import { SigningKeys } from "./tokens/signing-keys.ts";

/** How often what has expired is removed, and the signing key looked at: an hour. */
const TIDY_MS = 3_600_000;

/** A running server. */
export interface Server {
  /** Where it listens. */
  url: string;
  /** Opens a session of the local owner: on an embedded database and a loopback address alone. */
  signInOwner: (() => Promise<{ token: string; expiresAt: string }>) | undefined;
  /** Resolves when the embedded Postgres has ended by itself: no call can be answered any more. Then close. */
  failed: Promise<Error>;
  /** Resolves when all is removed that had expired before the start. */
  tidied: Promise<void>;
  /** Says that the database was changed past the server: it trusts nothing that it remembers until it has caught up. */
  doubt(): void;
  /** Resolves when all is on record that was refused so far. */
  recorded(): Promise<void>;
  /** Answers what is under way, then stops; the embedded Postgres with it. */
  close(): Promise<void>;
}

/**
 * Starts a server: telemetry, database, migrations, doors. What was started is stopped again if a later step fails.
 * @param opening the database, where it is being opened already: Postgres can start while the server is still loaded
 * @param mcp loads what speaks to MCP clients; left out, there is no such door
 */
export async function startServer(config: Config, opening = openConfiguredDatabase(config), mcp?: LoadMcp): Promise<Server> {
  const started: (() => void | Promise<void>)[] = [];
  const close = async () => {
    for (const stop of started.splice(0).reverse()) await stop();
  };
  // It is being opened whatever comes next: also what fails before it is awaited must close it.
  started.push(async () => (await opening.catch(() => undefined))?.close());
  try {
    mustHaveAddress(config);
    started.push(await startTelemetry(config));
    const log = createLog(config.logLevel);
    const database = await opening;
    const secret = await secretOf(config);
    await migrate(database.sql);
    await bindToIssuers(database.sql, config.oidcProviders);
    await setLimits(database.sql, config.limits);
    const port = config.port || (await freePort(config.host));
    const publicUrl = config.publicUrl ?? `http://${inUrl(config.host)}:${port}`;
    const cookieOrigins = [...new Set([new URL(publicUrl).origin, ...config.cookieOrigins])];
    const origins = [...new Set([...cookieOrigins, ...config.allowedOrigins])];
    const { sendMail, close: closeMail } = await createMailer(config, log);
    const { signUp, oidcProviders } = config;
    const { auth, close: closeAuth } = createAuth({
      address: database.address,
      secret,
      publicUrl,
      cookieOrigins,
      signUp,
      oidcProviders,
      sendMail,
    });
    started.push(closeAuth, closeMail);

    const feed = openFeed(database.address, log);
    started.push(() => feed.close());
    forgetDeleted(feed);
    const bell = openBell(database.address, log);
    started.push(() => bell.close());
    const keys = new SigningKeys(database.sql.as("signing keys", { urgent: true }), secret);
    await keys.ensure();
    const { tidied, stop } = startTidying(log, [() => sweep(database.sql), () => sweepClients(database.sql)], [() => keys.ensure()]);
    started.push(stop);
    const jwt = new Jwt(publicUrl, keys);
    const issuers = new TrustedIssuers(config.trustedIssuers);
    // Whoever takes something back must prove who they are first: whatever others do, that waits for nobody.
    const ground = { sql: database.sql.as(SERVER, { urgent: true }), auth, cookieOrigins, readToken: createReadToken({ jwt, issuers }) };
    const guesses = createGuesses(config.failedAuthLimit);
    const authenticate = rememberActors(feed, guesses.guard(createAuthenticate(ground)));
    const minting = { jwt, identify: (sql: Sql, credential: string) => identify({ ...ground, sql }, credential) };
    const enter = { remembered: rememberStandings(feed, enterSpace), now: enterSpace };
    const budgets = new Budgets(limitsFrom(config));
    const denials = new Denials(database.sql.as("denials"), log, config.auditDelayMs);
    started.push(
      () => budgets.close(),
      () => denials.close(),
    );
    const shared = { authenticate, sql: database.sql, feed, budgets, denials, log };
    const user = { ...shared, api: userApi, policy: userPolicy, handlers: userRpcHandlers(minting) } as Door;
    const serving = {
      jwt,
      rules: issuers.rules,
      bell,
      work: openWork(bell),
      denials,
      emit: createEmit(database.sql),
      leaseSeconds: config.leaseSeconds,
    };
    const space = { ...shared, enter, api: spaceApi, policy: spacePolicy, handlers: spaceRpcHandlers(serving) } as Door;
    const house = {
      config,
      publicUrl,
      origins,
      cookieOrigins,
      auth,
      mails: sendMail !== undefined,
      doors: { user, space },
      guesses,
      ready: sharing(() => upToDate(database.sql.as("health", { urgent: true }))),
    };
    const reading = { streams: new Streams(feed, log), tails: openTails(bell) };
    const app = await openDoors(house, [
      addPeople,
      addAccount,
      addPages,
      addOAuth(keys),
      addMetadata,
      addAuthzen,
      addSessions(reading),
      ...(mcp ? [addMcp(mcp, reading)] : []),
    ]);
    started.push(async () => {
      // What waits is let go first: an open stream, a worker's question.
      reading.streams.close();
      await bell.close();
      await closeDoors(app);
    });
    const listening = await app.listen({ host: config.host, port }).catch((cause: NodeJS.ErrnoException) => {
      throw new StartError(`Can't listen on ${config.host}:${port} (${cause.code}). Set PORT or HOST to another.`, { cause });
    });

    // Without PUBLIC_URL the server is announced by the address that it publishes.
    const url = config.publicUrl === undefined ? publicUrl : listening;
    const owner = config.databaseUrl === undefined && isLoopback(config.host) ? await ensureLocalOwner(database.sql) : undefined;
    const signInOwner = owner === undefined ? undefined : () => openSession(auth, owner);
    started.push(startSweeping(database.sql.as("sweeper"), log, createRetention(config.retention, log)));
    log.info({ url, database: database.place }, "listening");
    const failed = database.failed.then((error) => {
      log.fatal({ database: database.place }, error.message);
      return error;
    });
    return { url, signInOwner, failed, tidied, doubt: feed.doubt, recorded: () => denials.written(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Chore = () => Promise<unknown>;

/**
 * Tidies up every hour, beside all else.
 * @param now done at once as well @param hourly done already, the first time
 * @returns stops it, and resolves when it is done for the first time
 */
function startTidying(log: Logger, now: Chore[], hourly: Chore[]): { tidied: Promise<void>; stop: () => void } {
  let stopped = false;
  const tidy = async (chores: Chore[]) => {
    for (const chore of chores) {
      if (stopped) return;
      // One that fails keeps no other from being done. One that is under way ends with the database.
      await chore().catch((cause: unknown) => stopped || log.error({ cause: loggable(cause) }, "not tidied up"));
    }
  };
  const tidying = setInterval(() => tidy([...now, ...hourly]), TIDY_MS).unref();
  return {
    tidied: tidy(now),
    stop: () => {
      stopped = true;
      clearInterval(tidying);
    },
  };
}

/** Asks once for all who ask meanwhile. */
function sharing<T>(ask: () => Promise<T>): () => Promise<T> {
  let asked: Promise<T> | undefined;
  return () => {
    asked ??= ask().finally(() => {
      asked = undefined;
    });
    return asked;
  };
}

/** A host as URLs have it (RFC 3986 §3.2.2). */
const inUrl = (host: string): string => (host.includes(":") ? `[${host}]` : host);

/** Hosts that stand for every address of the machine, as URLs write them: none of them is where a caller finds it. */
const EVERYWHERE = new Set(["0.0.0.0", "::", "::ffff:0:0"]);

/** @throws ConfigError where the server would be announced under an address that is none */
function mustHaveAddress({ host, publicUrl, port }: Config): void {
  const url = `http://${inUrl(host)}`;
  if (publicUrl !== undefined || !URL.canParse(url) || !EVERYWHERE.has(hostOf(new URL(url)))) return;
  throw new ConfigError(
    `These settings are wrong:\n  PUBLIC_URL: must be set where HOST is ${host}, which is every address of this machine: name the one that callers use, such as http://localhost:${port}.\nSee docs/settings.md.`,
  );
}

/** A port that nobody listens on: it must be known before the doors are made, for their addresses to be right. */
async function freePort(host: string): Promise<number> {
  const probe = createServer().listen(0, host);
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

/**
 * The server's secret: the one set; with the embedded Postgres, else one that is made once and kept.
 * @throws ConfigError where the database is another's and none is set
 */
export async function secretOf(config: Config): Promise<string> {
  if (config.secret) return config.secret;
  if (config.databaseUrl)
    throw new ConfigError(
      "These settings are wrong:\n  GATEHOUSE_SECRET: must be set where DATABASE_URL is, the same for every server on that database.\nMake one: openssl rand -base64 32. See docs/settings.md.",
    );
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  return keptSecret(join(config.dataDir, "secret"));
}
