import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { CliError } from "./exit.ts";

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

/** A signed-in session, as it is kept for one server. */
type Entry = z.infer<typeof Entry>;
type Contents = z.infer<typeof Contents>;

/** The credential store: one file that only its owner may read, replaced whole or not at all. */
export interface Store {
  read(): Promise<Contents>;
  /** Changes what is kept; the last writer wins. */
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
      const contents = await read();
      change(contents);
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      const draft = `${file}.${process.pid}`;
      const handle = await open(draft, "wx", 0o600).catch(async () => {
        await rm(draft, { force: true });
        return open(draft, "wx", 0o600);
      });
      try {
        await handle.writeFile(`${JSON.stringify(contents, null, 2)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(draft, file);
    },
  };
}
