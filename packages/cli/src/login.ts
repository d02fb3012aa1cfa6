import { createUserClient, GatehouseError, signIn, signOut } from "@gatehouse/client";
import { keyPrefixes, type Whoami } from "@gatehouse/protocol";
import { type Command, Option } from "commander";
import { askSecret, askText } from "./ask.ts";
import { addCommand } from "./command.ts";
import { CliError } from "./exit.ts";
import { signInByBrowser } from "./login/browser.ts";
import { signInByDevice } from "./login/device.ts";
import { revoke } from "./login/oauth.ts";
import { keptIn, type Me } from "./me.ts";
import { note } from "./output.ts";
import type { Login } from "./store.ts";

const PATIENCE_SECONDS = 300;

interface LoginOptions {
  device?: true;
  withToken?: true;
  email?: string | true;
  timeout: number;
}

export function addLogin(program: Command): void {
  addCommand(program, {
    usage: "login",
    summary: "Sign in: in the browser, or by --device, --with-token or --email where there is none.",
    examples: [
      "login                                   # in the browser of this machine",
      "login --device                          # in a browser anywhere: it shows a code to enter there",
      "login --with-token < key.txt            # with a key, as what the key speaks for",
      "login --email ada@example.com           # with a password, which is asked for",
      "login --email ada@example.com < password.txt",
    ],
    options: (command) =>
      command
        .addOption(new Option("--device", "show a code, to be entered in a browser on any device").conflicts(["withToken", "email"]))
        .addOption(new Option("--with-token", "keep a key (me_pat_…, me_agent_…), read from stdin").conflicts(["email"]))
        .option("--email [address]", "sign in with an e-mail address and a password, asked for or read from stdin")
        .addOption(new Option("--timeout <seconds>", "give up after so long").default(PATIENCE_SECONDS).argParser(readSeconds)),
    run: login,
    show: ({ server, name }) => `Signed in to ${server} as ${name}.`,
  });

  addCommand(program, {
    usage: "logout",
    summary: "Sign out: the login ends on the server, and is forgotten here. A kept key is only forgotten.",
    examples: ["logout"],
    async run(me) {
      const server = await me.server();
      let kept: Login | undefined;
      await me.store.renew(server, async (login) => {
        kept = login;
        if (login) await end(server, login);
        return undefined;
      });
      if (!kept) throw new CliError("not signed in", `You are not signed in to ${server}.`);
      if (isKey(kept.token)) note("The key itself stays good. To end it: me apikey revoke NAME");
      return { server };
    },
    show: ({ server }) => `Signed out of ${server}.`,
  });
}

async function login(me: Me, options: LoginOptions) {
  const server = await me.server();
  const who = await keepLogin(me, server, await signInBy(me, server, options));
  if (me.settings.apiKey) note("ME_API_KEY is set, and goes before this sign-in: unset it to act as yourself.");
  return { server, id: who.id, name: who.name, email: who.email, expiresAt: who.credential.expiresAt, keptIn: await keptIn(me) };
}

/** Keeps a login that was just made, in place of one that was there, which ends. @returns whose it is */
export async function keepLogin(me: Me, server: string, made: Login): Promise<Whoami> {
  const who = await createUserClient({ server, credential: made.token }).whoami();
  const before = await me.store.login(server).catch(() => undefined);
  await me.store.keep(server, { name: who.name }, { ...made, expiresAt: made.expiresAt ?? who.credential.expiresAt });
  // What is replaced here would live on, out of sight.
  if (before) await end(server, before).catch(() => {});
  return who;
}

async function signInBy(me: Me, server: string, { device, withToken, email, timeout }: LoginOptions): Promise<Login> {
  if (device) return signInByDevice(me, server, timeout);
  if (withToken) return { token: await askKey(me), expiresAt: null };
  if (email === undefined) return signInByBrowser(me, server, timeout);
  const address = email === true ? await askText(me, "E-mail address", "--email ADDRESS") : email;
  return { token: await signIn({ server }, address, await askSecret(me, "Password")), expiresAt: null };
}

async function askKey(me: Me): Promise<string> {
  const key = (await askSecret(me, "Key")).trim();
  if (isKey(key)) return key;
  throw new CliError("usage", `That is no key. A key begins with ${Object.values(keyPrefixes).join(" or ")}. Make one: me apikey create`);
}

/** Ends a login on its server; one that is over already is as good as ended. A key is not ours to end. */
async function end(server: string, { token, refreshToken }: Login): Promise<void> {
  if (isKey(token)) return;
  if (refreshToken !== undefined) return revoke(server, refreshToken);
  await signOut({ server, credential: token }).catch((error: unknown) => {
    if (!(error instanceof GatehouseError) || error.code !== "UNAUTHENTICATED") throw error;
  });
}

const isKey = (token: string): boolean => Object.values(keyPrefixes).some((prefix) => token.startsWith(prefix));

function readSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds > 0 && seconds <= 3600) return seconds;
  throw new CliError("usage", "--timeout takes seconds, from 1 to 3600.");
}
