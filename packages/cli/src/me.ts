import { type Client, createSpaceClient, createUserClient, type Target } from "@gatehouse/client";
import type { SpaceApi, UserApi } from "@gatehouse/protocol";
import { CliError } from "./exit.ts";
import { homeFolder } from "./home.ts";
import { openKeychain } from "./keychain.ts";
import { tokenOf } from "./login/refresh.ts";
import { readSettings, type Settings } from "./settings.ts";
import { openStore, type Store } from "./store.ts";

const DEFAULT_SERVER = "http://127.0.0.1:7070";

/** What a command works with: which server, as whom, and whether a person is there to be asked. */
export interface Me {
  settings: Settings;
  store: Store;
  /** The server meant: named, else signed in to last, else this machine's. */
  server(): Promise<string>;
  /** Where calls go, and as whom: by ME_API_KEY, else by the login kept for the server. @throws CliError "not signed in" */
  target(): Promise<Target>;
  /** @throws CliError "not signed in" when there is no credential */
  client(): Promise<Client<UserApi>>;
  /**
   * The slug of the space meant: ME_SPACE, else the one chosen with `me space use`, else the only one there is.
   * @param choose how one is chosen otherwise, as is said where there are several
   */
  space(choose?: string): Promise<string>;
  /** Calls inside that space, or another. @throws CliError as `client` and `space` do */
  inSpace(slug?: string): Promise<Client<SpaceApi>>;
  /** Whether there is a person at a terminal who can answer questions. */
  interactive: boolean;
}

/** Reads who and where for one run. */
export function createMe(options: { server?: string }): Me {
  const settings = readSettings(options);
  const interactive = Boolean(process.stdin.isTTY && process.stderr.isTTY);
  const store = openStore(settings.configDir, settings.keychain ? openKeychain({ interactive }) : undefined);
  const server = async () => settings.server ?? (await store.read()).current ?? DEFAULT_SERVER;
  let token: ReturnType<typeof tokenOf> | undefined; // one for the run, as a keychain takes its time
  const target = async () => {
    const to = await server();
    token ??= tokenOf(store, to);
    const credential = settings.apiKey ?? token;
    if (typeof credential === "function" && (await credential()) === undefined)
      throw new CliError("not signed in", `You are not signed in to ${to}. Run: me login, or set ME_API_KEY.`);
    return { server: to, credential };
  };
  const space = async (choose = `${settings.apiKey === undefined ? "me space use SLUG, or " : ""}set ME_SPACE=SLUG`) => {
    // What was chosen goes with the session that is kept, not with a key.
    const chosen = settings.apiKey === undefined ? (await store.read()).servers[await server()]?.space : undefined;
    return settings.space ?? chosen ?? theOnlySpace(createUserClient(await target()), choose);
  };
  return {
    settings,
    store,
    server,
    target,
    client: async () => createUserClient(await target()),
    space,
    inSpace: async (slug) => createSpaceClient({ ...(await target()), space: slug ?? (await space()) }),
    interactive,
  };
}

async function theOnlySpace(client: Client<UserApi>, choose: string): Promise<string> {
  const { spaces, next } = await client.space.list({ limit: 20 });
  if (spaces.length === 1 && spaces[0]) return spaces[0].slug;
  throw new CliError(
    "usage",
    spaces.length === 0
      ? "You are in no space. Make one: me space create NAME"
      : `You are in ${spaces.length} spaces${next === null ? "" : " and more"}: ${spaces.map(({ name, slug }) => `${name} (${slug})`).join(", ")}. Choose: ${choose}`,
  );
}

/** Where the credential rests that a command uses; undefined without one. */
export async function keptIn(me: Me): Promise<string | undefined> {
  if (me.settings.apiKey !== undefined) return "the environment (ME_API_KEY)";
  const entry = (await me.store.read()).servers[await me.server()];
  if (!entry) return undefined;
  return "keychain" in entry ? "the keychain" : me.store.file.replace(homeFolder(), "~");
}
