import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CliError } from "./exit.ts";
import type { Keychain } from "./keychain.ts";
import { alone } from "./lock.ts";
import { replaceFile } from "./replace.ts";

/** What signs a person in at one server. Moments are RFC 3339, UTC. */
const Login = z.object({
  token: z.string(),
  /** null = never */
  expiresAt: z.string().nullable(),
  /** Gives the next token, once (RFC 6749, section 6). A password or a key gives none. */
  refreshToken: z.string().optional(),
  /** From when on the next token is asked for. */
  refreshAt: z.string().optional(),
});
export type Login = z.infer<typeof Login>;

const Named = z.object({
  name: z.string(),
  /** The slug of the space that `me space use` chose. */
  space: z.string().optional(),
});
/** The login stands in the file only where there is no keychain to hold it. */
const Entry = z.union([Named.extend({ keychain: z.literal(true) }), Named.extend(Login.shape)]);
const Contents = z.object({
  /** The server signed in to last: the one meant when none is named. */
  current: z.string().optional(),
  servers: z.record(z.string(), Entry),
});
type Named = z.infer<typeof Named>;
type Contents = z.infer<typeof Contents>;

/** The credential store: the keychain, and one file that only its owner may read, replaced whole or not at all. */
export interface Store {
  file: string;
  read(): Promise<Contents>;
  /** Changes what is no secret. Every change here is made by one `me` at a time: of two at once, none is lost. */
  update(change: (contents: Contents) => void): Promise<void>;
  /** @throws CliError when it is in a keychain that can't be asked */
  login(server: string): Promise<Login | undefined>;
  /** Keeps a login in place of what was there, and makes its server the current one. */
  keep(server: string, named: Named, login: Login): Promise<void>;
  /** Puts what `next` makes of a login in its place; undefined forgets the server. Meanwhile nobody else changes the store. */
  renew(server: string, next: (login: Login | undefined) => Promise<Login | undefined>): Promise<Login | undefined>;
}

/**
 * Opens the store in a folder, which need not exist yet.
 * @param keychain where secrets rest, if it takes them; without it, they are in the file
 */
export function openStore(folder: string, keychain: Keychain | undefined): Store {
  const file = join(folder, "credentials.json");
  const item = (server: string) => `${server} ${file}`;

  const read = async (): Promise<Contents> => {
    const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return '{"servers":{}}';
      throw new CliError("error", `${file} can't be read (${error.code}). Make it yours, mode 0600.`);
    });
    try {
      return Contents.parse(JSON.parse(text.replace(/^\ufeff/, ""))); // an editor's byte order mark is no damage
    } catch {
      throw new CliError("error", `${file} is damaged. Remove it, then sign in again: me login`);
    }
  };

  const change = async <T>(make: (contents: Contents) => T | Promise<T>): Promise<T> => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return alone(`${file}.lock`, async () => {
      const contents = await read();
      const before = JSON.stringify(contents);
      const made = await make(contents);
      if (JSON.stringify(contents) !== before) await replaceFile(file, `${JSON.stringify(contents, null, 2)}\n`);
      return made;
    });
  };

  const loginOf = async (server: string, entry: Contents["servers"][string] | undefined): Promise<Login | undefined> => {
    if (!entry || !("keychain" in entry)) return entry && Login.parse(entry);
    if (!keychain)
      throw new CliError(
        "not signed in",
        `Your login to ${server} is in the keychain, which ME_KEYCHAIN=off closes. Sign in again: me login`,
      );
    const kept = await keychain.get(item(server));
    if (kept === undefined)
      throw new CliError(
        "not signed in",
        `Your login to ${server} is in the keychain, which does not answer. Unlock it, or sign in without it: ME_KEYCHAIN=off me login`,
      );
    return kept === null ? undefined : Login.parse(JSON.parse(kept));
  };

  const put = async (contents: Contents, server: string, { name, space }: Named, login: Login) => {
    const inKeychain = (await keychain?.set(item(server), JSON.stringify(login))) ?? false;
    contents.servers[server] = { name, space, ...(inKeychain ? { keychain: true } : login) };
  };

  return {
    file,
    read,
    update: change,
    login: async (server) => loginOf(server, (await read()).servers[server]),
    keep: (server, named, login) =>
      change(async (contents) => {
        contents.current = server;
        await put(contents, server, named, login);
      }),
    renew: (server, next) =>
      change(async (contents) => {
        const entry = contents.servers[server];
        const login = await loginOf(server, entry);
        const renewed = await next(login);
        if (entry && renewed && renewed !== login) await put(contents, server, entry, renewed);
        if (entry && !renewed) {
          if ("keychain" in entry) await keychain?.remove(item(server));
          delete contents.servers[server];
          if (contents.current === server) delete contents.current;
        }
        return renewed;
      }),
  };
}
