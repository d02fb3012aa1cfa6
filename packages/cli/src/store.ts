import { mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { CliError } from "./exit.ts";

const LOCK_MS = 2000;
const LOCK_POLL_MS = 10;

/** A signed-in session, as it is kept for one server. */
const Entry = z.object({
  token: z.string(),
  expiresAt: z.string().nullable(),
  name: z.string(),
  /** The slug of the space that `me space use` chose. */
  space: z.string().optional(),
});
const Contents = z.object({
  /** The server signed in to last: the one meant when none is named. */
  current: z.string().optional(),
  servers: z.record(z.string(), Entry),
});

type Contents = z.infer<typeof Contents>;

/** The credential store: one file that only its owner may read, replaced whole or not at all. */
export interface Store {
  read(): Promise<Contents>;
  /** Changes what is kept, one `me` at a time: of two that sign in at once, both are kept. */
  update(change: (contents: Contents) => void): Promise<void>;
}

/** Opens the store in a folder, which need not exist yet. */
export function openStore(folder: string): Store {
  const file = join(folder, "credentials.json");
  const read = async (): Promise<Contents> => {
    const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return '{"servers":{}}';
      throw new CliError("error", `${file} can't be read (${error.code}). Make it yours, mode 0600.`);
    });
    try {
      return Contents.parse(JSON.parse(text));
    } catch {
      throw new CliError("error", `${file} is damaged. Remove it, then sign in again: me login`);
    }
  };
  return {
    read,
    async update(change) {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await alone(`${file}.lock`, async () => {
        const contents = await read();
        change(contents);
        await replace(file, `${JSON.stringify(contents, null, 2)}\n`);
      });
    },
  };
}

/** Replaces a file whole. */
async function replace(file: string, text: string): Promise<void> {
  const draft = `${file}.${process.pid}`;
  const handle = await open(draft, "wx", 0o600).catch(async () => {
    await rm(draft, { force: true });
    return open(draft, "wx", 0o600);
  });
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
}

/** Runs while it alone has the lock. A change takes milliseconds: a lock that stays was left by a process that was killed. */
async function alone(lock: string, run: () => Promise<void>): Promise<void> {
  for (const end = Date.now() + LOCK_MS; ; await delay(LOCK_POLL_MS)) {
    try {
      await writeFile(lock, "", { flag: "wx", mode: 0o600 });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      if (Date.now() > end) await rm(lock, { force: true });
    }
  }
  try {
    await run();
  } finally {
    await rm(lock, { force: true });
  }
}
