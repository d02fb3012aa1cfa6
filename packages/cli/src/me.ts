import { type Client, createUserClient } from "@gatehouse/client";
import type { UserApi } from "@gatehouse/protocol";
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
  /** Whether there is a person at a terminal who can answer questions. */
  interactive: boolean;
}

/** Reads who and where for one run. */
export function createMe(options: { server?: string }): Me {
  const settings = readSettings(options);
  const store = openStore(settings.configDir);
  const server = async () => settings.server ?? (await store.read()).current ?? DEFAULT_SERVER;
  const credential = async () => settings.apiKey ?? (await store.read()).servers[await server()]?.token;
  return {
    settings,
    store,
    server,
    credential,
    async client() {
      const to = await server();
      const token = await credential();
      if (token === undefined) throw new CliError("not signed in", `You are not signed in to ${to}. Run: me login, or set ME_API_KEY.`);
      return createUserClient({ server: to, credential: token });
    },
    interactive: Boolean(process.stdin.isTTY && process.stderr.isTTY),
  };
}
