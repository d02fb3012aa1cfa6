import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { TestUser } from "./harness.ts";
import { type Jar, openJar } from "./jar.ts";
import { answerConsent } from "./oauth-client.ts";
import { type Finished, type Home, ME, makeHome, type Running, start, until } from "./run.ts";

/** A browser that opens nothing: the address is taken from what `me login` prints. */
export const NO_BROWSER = { BROWSER: "true" };

const fileOf = ({ env }: Home) => join(String(env.XDG_CONFIG_HOME), "gatehouse", "credentials.json");

/** What a home's store holds for a server. */
export const kept = async (home: Home, server: string) => JSON.parse(await readFile(fileOf(home), "utf8")).servers[server];

/** Changes what a home's store holds for a server. */
export async function keep(home: Home, server: string, change: object): Promise<void> {
  const contents = JSON.parse(await readFile(fileOf(home), "utf8"));
  Object.assign(contents.servers[server], change);
  await writeFile(fileOf(home), JSON.stringify(contents), { mode: 0o600 });
}

/** It is time to refresh. */
export const ripen = (home: Home, server: string): Promise<void> => keep(home, server, { refreshAt: new Date(0).toISOString() });

/** Starts `me`, with nobody at a terminal. */
export const begin = (home: Home, args: readonly string[], env: Record<string, string> = {}): Running =>
  start(process.execPath, [ME, ...args], { ...home.env, ...env });

/** Starts `me login`, and waits until it says where to go. */
export async function beginLogin(
  home: Home,
  server: string,
  more: string[] = [],
  env = NO_BROWSER,
): Promise<Running & { address: string }> {
  const running = begin(home, ["login", "--server", server, ...more], env);
  const address = await until(
    () => `me login says where to go; it says ${running.stderr()}`,
    () => /^ {2}(http\S+)$[\s\S]*Waiting/m.exec(running.stderr())?.[1],
  );
  return { ...running, address };
}

/** Starts `me login --device`, and waits until it shows a code. */
export async function beginDevice(home: Home, server: string, more: string[] = []): Promise<Running & { code: string }> {
  const running = begin(home, ["login", "--device", "--server", server, ...more]);
  const code = await until(
    () => `me login shows a code; it says ${running.stderr()}`,
    () => /enter the code\n\n {2}(\S+)$[\s\S]*Waiting/m.exec(running.stderr())?.[1],
  );
  return { ...running, code };
}

/** Signs in in a browser, and answers a code that a program shows. */
export async function enterCode(jar: Jar, code: string, user: TestUser, answer: "approve" | "deny" = "approve"): Promise<void> {
  if (jar.cookies.size === 0) await jar.signIn(user.email, user.password);
  expect((await jar.get(`/api/auth/device?user_code=${encodeURIComponent(code)}`)).status).toBe(200);
  expect((await jar.post(`/api/auth/device/${answer}`, { userCode: code })).status).toBe(200);
}

/** A home that is signed in by the browser. @param jar of who may be signed in there already: the door lets an account sign in only so often */
export async function loggedIn(
  server: string,
  user: TestUser,
  jar = openJar(server),
): Promise<{ home: Home; finished: Finished; page: Response }> {
  const home = await makeHome();
  const running = await beginLogin(home, server);
  const page = await fetch(await answerConsent(jar, running.address, user));
  const finished = await running.finished;
  if (finished.code !== 0) throw new Error(`me login ended with ${finished.code}: ${finished.stderr}`);
  return { home, finished, page };
}
