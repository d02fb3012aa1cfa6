import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { spaceApi, userApi } from "@gatehouse/protocol";
import { createAuth } from "./auth.ts";
import { createAuthenticate } from "./authenticate.ts";
import { type Config, isLoopback } from "./config.ts";
import { openConfiguredDatabase, StartError } from "./database.ts";
import { openDoors } from "./http.ts";
import { spaceRpcHandlers, userRpcHandlers } from "./methods/index.ts";
import { migrate, upToDate } from "./migrate.ts";
import { spacePolicy, userPolicy } from "./policy.ts";
import { keptSecret } from "./postgres/place.ts";
import type { Door } from "./rpc.ts";
import { enterSpace } from "./standing.ts";
import { createLog, startTelemetry } from "./telemetry.ts";
import { ensureLocalOwner, forgetOldAttempts, openSession } from "./users.ts";

/** A running server. */
export interface Server {
  /** Where it listens. */
  url: string;
  /** Opens a session of the local owner: on an embedded database and a loopback address alone. */
  signInOwner: (() => Promise<{ token: string; expiresAt: string }>) | undefined;
  /** Resolves when the embedded Postgres has ended by itself: no call can be answered any more. Then close. */
  failed: Promise<Error>;
  /** Answers what is under way, then stops; the embedded Postgres with it. */
  close(): Promise<void>;
}

/**
 * Starts a server: telemetry, database, migrations, doors. What was started is stopped again if a later step fails.
 * @param opening the database, where it is being opened already: Postgres can start while the server is still loaded
 */
export async function startServer(config: Config, opening = openConfiguredDatabase(config)): Promise<Server> {
  const started: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const stop of started.splice(0).reverse()) await stop();
  };
  // It is being opened whatever comes next: also what fails before it is awaited must close it.
  started.push(async () => (await opening.catch(() => undefined))?.close());
  try {
    started.push(await startTelemetry(config));
    const log = createLog(config.logLevel);
    const database = await opening;
    await migrate(database.sql);
    await forgetOldAttempts(database.sql);

    const secret = await secretOf(config);
    const port = config.port || (await freePort(config.host));
    const publicUrl = config.publicUrl ?? `http://${config.host.includes(":") ? `[${config.host}]` : config.host}:${port}`;
    const origins = [...new Set([new URL(publicUrl).origin, ...config.allowedOrigins])];
    const { auth, close: closeAuth } = createAuth({ address: database.address, secret, publicUrl, origins });
    started.push(closeAuth);

    const authenticate = createAuthenticate({ sql: database.sql, auth, origins });
    const shared = { authenticate, sql: database.sql, log };
    const user = { ...shared, api: userApi, policy: userPolicy, handlers: userRpcHandlers } as Door;
    const space = { ...shared, enter: enterSpace, api: spaceApi, policy: spacePolicy, handlers: spaceRpcHandlers } as Door;
    const app = await openDoors({ config, publicUrl, origins, auth, doors: { user, space }, ready: () => upToDate(database.sql) });
    started.push(() => app.close());
    const url = await app.listen({ host: config.host, port }).catch((cause: NodeJS.ErrnoException) => {
      throw new StartError(`Can't listen on ${config.host}:${port} (${cause.code}). Set PORT or HOST to another.`, { cause });
    });

    const owner = config.databaseUrl === undefined && isLoopback(config.host) ? await ensureLocalOwner(database.sql) : undefined;
    const signInOwner = owner === undefined ? undefined : () => openSession(auth, owner);
    log.info({ url, database: database.place }, "listening");
    const failed = database.failed.then((error) => {
      log.fatal({ database: database.place }, error.message);
      return error;
    });
    return { url, signInOwner, failed, close };
  } catch (error) {
    await close();
    throw error;
  }
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

/** The secret that signs sessions: the one set, else one that is made once and kept. */
async function secretOf(config: Config): Promise<string> {
  if (config.secret) return config.secret;
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  return keptSecret(join(config.dataDir, "secret"));
}
