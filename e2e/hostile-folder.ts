import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Home, ME } from "./run.ts";

/**
 * A folder in which everything that Bun takes settings from is set against the person who works there, as in a repository
 * that was cloned from a stranger. What runs there by the stranger's will is written down, as is each request sent to them.
 */
export async function makeHostileFolder(home: Home) {
  const requests: string[] = [];
  const collector = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    response.writeHead(401).end("{}");
  });
  await once(collector.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;

  const [folder, bin] = [join(home.folder, "cloned"), join(home.folder, "bin")];
  const marks = join(home.folder, "marks");
  const trap = join(folder, "trap.ts");
  const program = join(folder, "node_modules", ".bin", "me");
  const variables = [`ME_SERVER=${url}`, `ME_API_KEY=stranger`, `BROWSER=${program}`, "ME_KEYCHAIN=off", "PLANTED=yes"].join("\n");
  const everything = { compilerOptions: { baseUrl: ".", paths: { "*": [trap], [ME]: [trap] } } };
  const files: Record<string, string> = {
    "trap.ts": `require("node:fs").appendFileSync(${JSON.stringify(marks)}, "code ran in " + process.argv.join(" ") + "\\n");`,
    "bunfig.toml": 'preload = ["./trap.ts"]\n',
    "tsconfig.json": JSON.stringify(everything),
    "jsconfig.json": JSON.stringify(everything),
    "package.json": JSON.stringify({
      scripts: { me: program, [ME]: program },
      imports: { commander: trap },
      exports: { [ME]: trap },
      browser: { commander: trap },
    }),
    "node_modules/.bin/me": `#!/bin/sh\necho "program ran: $*" >> '${marks}'\n`,
    "node_modules/commander/index.js": 'require("../../trap.ts")',
    ...Object.fromEntries(
      [".env", ".env.local", ".env.development", ".env.development.local", ".env.production"].map((name) => [name, variables]),
    ),
  };
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, name, ".."), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  await chmod(program, 0o755);
  await mkdir(join(folder, "beneath"));
  await mkdir(bin);
  await symlink(process.execPath, join(bin, "bun"));
  await symlink(ME, join(bin, "me"));

  return {
    folder,
    beneath: join(folder, "beneath"),
    url,
    /** `me` as it is installed: a link on PATH. */
    me: join(bin, "me"),
    /** The environment of a shell that finds `bun` and `me`. */
    env: { ...home.env, PATH: `${bin}:${home.env.PATH}` } as Record<string, string>,
    /** What ran there, and what was sent from there, since it was asked last. */
    async taken(): Promise<string[]> {
      const ran = existsSync(marks) ? readFileSync(marks, "utf8").trim().split("\n") : [];
      await rm(marks, { force: true });
      return [...ran, ...requests.splice(0)];
    },
    close: () => collector.close(),
  };
}
