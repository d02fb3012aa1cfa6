import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openStore } from "../packages/cli/src/store.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gatehouse-store-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("of changes made at the same moment none is lost, and nothing is left lying about", async () => {
  const names = Array.from({ length: 20 }, (_, i) => `http://server-${i}`);
  await Promise.all(
    names.map((name) =>
      openStore(folder, undefined).update((contents) => {
        contents.servers[name] = { token: "t", expiresAt: null, name: "Ada" };
      }),
    ),
  );
  expect(Object.keys((await openStore(folder, undefined).read()).servers).sort()).toEqual(names.sort());
  expect((await readdir(folder)).sort()).toEqual(["credentials.json", "credentials.json.lock"]);
});

test("a byte order mark before the file is no damage", async () => {
  const contents = { servers: { "http://marked": { token: "t", expiresAt: null, name: "Ada" } } };
  await writeFile(join(folder, "credentials.json"), `\ufeff${JSON.stringify(contents)}`);
  expect((await openStore(folder, undefined).read()).servers).toMatchObject(contents.servers);
});
