import { stat } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { makeDatabase, onDatabase } from "./harness.ts";
import { type Home, makeHome, me, meJson, type RunningServer, startUp } from "./run.ts";

const PASSWORD = "correct horse battery";

describe("on the embedded database", () => {
  let home: Home;
  let server: RunningServer;
  beforeAll(async () => {
    home = await makeHome();
    server = await startUp(home);
  });

  test("whoever starts it is signed in, with a first space", async () => {
    expect(await meJson(home, ["whoami"])).toMatchObject({ kind: "u", name: "Local owner", credential: { via: "session" } });
    expect((await meJson(home, ["space", "list"])).spaces).toMatchObject([{ name: "Home", admin: true }]);
  });

  test("a second server on the same data folder says so, and the first goes on", async () => {
    const { code, stdout, stderr } = await me(home, ["up"], { env: { PORT: "0" } });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(`Another Gatehouse (process ${server.child.pid}) runs on this data folder.`);
    expect((await me(home, ["whoami"])).code).toBe(0);
  });

  test("me user create and me migrate work beside it", async () => {
    const made = await meJson(home, ["user", "create", "--email", "Ada@Example.com", "--name", "Ada"], { stdin: PASSWORD });
    const elsewhere = await makeHome({ ME_SERVER: server.url });
    await meJson(elsewhere, ["login", "--email", "ada@example.com"], { stdin: PASSWORD });
    expect((await meJson(elsewhere, ["whoami"])).id).toBe(made.id);
    const again = await me(home, ["user", "create", "--email", "ada@example.com", "--name", "Ada"], { stdin: PASSWORD });
    expect(again).toMatchObject({ code: 6, stdout: "" });
    expect(await meJson(home, ["migrate"])).toEqual({ applied: [] });
    expect((await me(home, ["whoami"])).code).toBe(0);
  });

  test("started again, it is the same, and its owner still signed in", async () => {
    const { id } = await meJson(home, ["whoami"]);
    expect((await server.stop()).code).toBe(0);
    expect((await me(home, ["whoami"])).code).toBe(7);
    server = await startUp(home);
    expect((await meJson(home, ["whoami"])).id).toBe(id);
  });
});

test("me migrate makes an empty database ready", async () => {
  const home = await makeHome(onDatabase(await makeDatabase()));
  const { applied } = await meJson(home, ["migrate"]);
  expect(applied[0]).toBe("0001_identity");
  expect(await meJson(home, ["migrate"])).toEqual({ applied: [] });
});

test("on a given database nobody is made or signed in", async () => {
  const home = await makeHome(onDatabase(await makeDatabase()));
  const server = await startUp(home);
  expect(server.stderr()).toContain(`me login --server ${server.url}`);
  expect((await me(home, ["whoami", "--server", server.url])).code).toBe(3);
});

test("every mistake in the settings is told at once, before anything starts", async () => {
  const home = await makeHome();
  const env = { PORT: "eighty", LOG_LEVEL: "loud", DATABASE_URL: "mysql://root:hunter2@localhost/x", GATEHOUSE_SECRET: "too short" };
  const { code, stdout, stderr } = await me(home, ["up"], { env });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  for (const [name, value] of Object.entries(env)) {
    expect(stderr).toMatch(new RegExp(`^ {2}${name}: `, "m"));
    expect(stderr).not.toContain(value);
  }
  expect(stderr).not.toContain("Starting");
  await expect(stat(join(home.folder, "share"))).rejects.toThrow("ENOENT");
});

test("a port that is taken, and a database that is not there, are told as what they are", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  try {
    const { port } = taken.address() as AddressInfo;
    const home = await makeHome(onDatabase(await makeDatabase()));
    const { code, stderr } = await me(home, ["up"], { env: { PORT: String(port) } });
    expect(code).toBe(1);
    expect(stderr).toContain(`Can't listen on 127.0.0.1:${port} (EADDRINUSE). Set PORT or HOST to another.`);
  } finally {
    taken.close();
  }
  const home = await makeHome({ ...onDatabase("postgres://me:hunter2@127.0.0.1:1/none"), PORT: "0" });
  for (const args of [["up"], ["migrate"], ["user", "create", "--email", "a@example.com", "--name", "A"]]) {
    const { code, stderr } = await me(home, args, { stdin: PASSWORD });
    expect(code).toBe(1);
    expect(stderr).toContain("The database of DATABASE_URL can't be used: ");
    expect(stderr).not.toContain("hunter2");
  }
});
