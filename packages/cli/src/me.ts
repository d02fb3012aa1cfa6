import { type Client, createSpaceClient, createUserClient } from "@gatehouse/client";
import type { SpaceApi, UserApi } from "@gatehouse/protocol";
import { CliError } from "./exit.ts";
import { readSettings, type Settings } from "./settings.ts";
import { openStore, type Store } from "./store.ts";

const DEFAULT_SERVER = "http://127.0.0.1:7070";

/** What a command works with: which server, as whom, and whether a person is there to be asked. */
export interface Me {
  settings: Settings;
  store: Store;
  /** The server meant: named, else signed in to last, else this machine's. */
  server(): Promise<string>;
  /** ME_API_KEY, else the session kept for the server. Undefined when there is neither. */
  credential(): Promise<string | undefined>;
  /** @throws CliError "not signed in" when there is no credential */
  client(): Promise<Client<UserApi>>;
  /** The slug of the space meant: ME_SPACE, else the one chosen with `me space use`, else the only one there is. */
  space(): Promise<string>;
  /** Calls inside that space. @throws CliError as `client` and `space` do */
  inSpace(): Promise<Client<SpaceApi>>;
  /** Whether there is a person at a terminal who can answer questions. */
  interactive: boolean;
}

/** Reads who and where for one run. */
export function createMe(options: { server?: string }): Me {
  const settings = readSettings(options);
  const store = openStore(settings.configDir);
  const server = async () => settings.server ?? (await store.read()).current ?? DEFAULT_SERVER;
  const credential = async () => settings.apiKey ?? (await store.read()).servers[await server()]?.token;
  const target = async () => {
    const to = await server();
    const token = await credential();
    if (token === undefined) throw new CliError("not signed in", `You are not signed in to ${to}. Run: me login, or set ME_API_KEY.`);
    return { server: to, credential: token };
  };
  const space = async () => {
    // What was chosen goes with the session that is kept, not with a key.
    const chosen = settings.apiKey === undefined ? (await store.read()).servers[await server()]?.space : undefined;
    return settings.space ?? chosen ?? theOnlySpace(createUserClient(await target()));
  };
  return {
    settings,
    store,
    server,
    credential,
    client: async () => createUserClient(await target()),
    space,
    inSpace: async () => createSpaceClient({ ...(await target()), space: await space() }),
    interactive: Boolean(process.stdin.isTTY && process.stderr.isTTY),
  };
}

async function theOnlySpace(client: Client<UserApi>): Promise<string> {
  const { spaces } = await client.space.list();
  if (spaces.length === 1 && spaces[0]) return spaces[0].slug;
  throw new CliError(
    "usage",
    spaces.length === 0
      ? "You are in no space. Make one: me space create NAME"
      : "You are in more than one space. Choose: me space use NAME, or set ME_SPACE.",
  );
}
