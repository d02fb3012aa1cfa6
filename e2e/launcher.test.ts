import { join } from "node:path";
import { expect, test } from "vitest";
import packageJson from "../package.json" with { type: "json" };
import { makeHome, me, start, until } from "./run.ts";

test("SIGTERM to npx, which passes it on to nobody, stops the server all the same", async () => {
  const home = await makeHome({ PORT: "0", npm_config_cache: process.env.npm_config_cache ?? join(process.env.HOME ?? "/root", ".npm") });
  const npx = start("npx", ["-y", packageJson.packageManager, "run", "start"], home.env);
  await until(
    () => `it is ready, which said:\n${npx.stderr()}`,
    () => npx.stderr().includes("Ready:"),
  );
  expect(await me(home, ["whoami"])).toMatchObject({ code: 0 });
  npx.child.kill("SIGTERM");
  await until("the server is gone", async () => (await me(home, ["whoami"])).code === 7);
  await until("it said so", () => npx.stderr().includes("Stopping…"));
});
