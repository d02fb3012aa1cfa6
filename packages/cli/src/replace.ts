import { open, rename, rm } from "node:fs/promises";

/** Replaces a file whole, or not at all. */
export async function replaceFile(file: string, text: string, mode = 0o600): Promise<void> {
  const draft = `${file}.${process.pid}`;
  await rm(draft, { force: true }); // of a process of the same number, which was killed
  const handle = await open(draft, "wx", mode);
  try {
    await handle.chmod(mode); // whatever the umask takes away
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
}
