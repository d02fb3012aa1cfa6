import { afterAll, expect, test } from "vitest";
import { makeDatabase } from "./harness.ts";
import { type Jar, openJar } from "./jar.ts";
import { openMailbox } from "./mailbox.ts";
import { answerConsent, REDIRECT, standardClient } from "./oauth-client.ts";
import { makeHome, me, startUp, until } from "./run.ts";

const [OLD, NEW] = ["correct horse battery staple", "another horse, battery included"];
const email = "ada@corp.example";

const box = await openMailbox();
afterAll(() => box.close());

async function userAndServer(env: Record<string, string>) {
  const home = await makeHome({
    DATABASE_URL: await makeDatabase(),
    GATEHOUSE_SECRET: "a secret of this test alone, 0123456789",
    LOG_LEVEL: "trace",
  });
  const made = await me(home, ["user", "create", "--email", email, "--name", "Ada"], { stdin: OLD });
  expect(made.code, made.stderr).toBe(0);
  return startUp(home, env);
}

const user = (password: string) => ({ id: "", session: "", email, password });

/** Does all that has to do with signing in. @returns every secret that was used on the way */
async function signInEveryWay(url: string): Promise<string[]> {
  const secrets: string[] = [OLD, NEW];
  const note = (jar: Jar) => secrets.push(...[...jar.cookies.values()].map((value) => decodeURIComponent(value).split(".")[0] as string));
  const client = await standardClient({ url } as never);
  const jar = openJar(url);
  const kept = await client.begin();
  const back = await answerConsent(jar, kept.address, user(OLD));
  note(jar);
  const first = await client.finish(back, kept);
  const second = await client.refresh(first.refresh_token as string);
  await client.refresh(first.refresh_token as string).catch(() => {});
  const wrong = {
    grant_type: "authorization_code",
    client_id: "me",
    code: "a-code-of-nobody",
    redirect_uri: REDIRECT,
    code_verifier: "v".repeat(43),
  };
  await jar.form("/api/v1/token", wrong);
  const { device_code, user_code } = await client.askDevice();
  await jar.get(`/api/auth/device?user_code=${user_code}`);
  await jar.post("/api/auth/device/approve", { userCode: user_code });
  const third = await client.poll(device_code);
  await client.revoke(third.refresh_token as string);
  secrets.push(new URL(back).searchParams.get("code") as string, kept.verifier, wrong.code, wrong.code_verifier, device_code, user_code);
  for (const tokens of [first, second, third]) secrets.push(tokens.access_token, tokens.refresh_token as string);

  await jar.post("/api/auth/request-password-reset", { email });
  const token = await box.token(email);
  expect((await jar.post("/api/auth/reset-password", { newPassword: NEW, token })).body).toEqual({ status: true });
  const again = openJar(url);
  const signedIn = await again.signIn(email, NEW);
  expect(signedIn.status).toBe(200);
  note(again);
  secrets.push(token, decodeURIComponent(signedIn.headers.get("set-auth-token") as string));
  await again.post("/api/auth/sign-out", {});
  return secrets;
}

test("no secret, and no address of a person, is in any line of the log", async () => {
  const server = await userAndServer(box.settings);
  const secrets = await signInEveryWay(server.url);
  await until("the mail is in the log", () => server.stderr().includes("mail sent"));
  await server.stop();
  const log = server.stderr();
  expect(log.split("\n").length).toBeGreaterThan(15);
  expect(secrets.length).toBeGreaterThan(15);
  for (const secret of [...secrets, new URL(box.settings.SMTP_URL).password, "smtp secret 4711", email]) {
    expect(secret.length).toBeGreaterThanOrEqual(8);
    expect(log).not.toContain(secret);
  }
});

test("mail that can't be sent leaves no trace of its content either", async () => {
  const server = await userAndServer({ ...box.settings, SMTP_URL: "smtp://gatehouse:wrong@127.0.0.1:1" });
  expect((await openJar(server.url).post("/api/auth/request-password-reset", { email })).status).toBe(200);
  await until("the failure is in the log", () => server.stderr().includes("mail not sent"));
  await server.stop();
  for (const secret of [email, "#token=", "wrong@"]) expect(server.stderr()).not.toContain(secret);
});

test("on a machine of one's own, without SMTP, the mail is in the log, and the link in it works", async () => {
  const server = await userAndServer({});
  const jar = openJar(server.url);
  await jar.post("/api/auth/request-password-reset", { email });
  const token = await until("the link is in the log", () => /\/reset-password#token=([\w-]+)/.exec(server.stderr())?.[1]);
  expect((await jar.post("/api/auth/reset-password", { newPassword: NEW, token })).status).toBe(200);
  expect((await jar.signIn(email, NEW)).status).toBe(200);
  await server.stop();
});
