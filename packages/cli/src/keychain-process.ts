import { text } from "node:stream/consumers";

/** What the keychain can be asked. */
export type Asked = "get" | "set" | "remove";

/** How the process ends; in any other way when there is no keychain. */
export const keychainExits = { done: 0, nothing: 4 } as const;

const SERVICE = "gatehouse";

/** Asks the keychain, as a process of its own: the secret comes by stdin, and goes by stdout. */
async function main([asked, name]: string[]): Promise<number> {
  const { AsyncEntry } = await import("@napi-rs/keyring");
  // Without a Secret Service the library would take the kernel's keyring, which forgets everything with the machine's next start.
  const entry = new AsyncEntry(SERVICE, name ?? "", { linux: { store: "secret-service" } });
  if (asked === "set") await entry.setPassword(await text(process.stdin));
  else if (asked === "remove") await entry.deleteCredential();
  else {
    const kept = await entry.getPassword();
    if (kept === null) return keychainExits.nothing;
    process.stdout.write(kept);
  }
  return keychainExits.done;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2)).catch(() => 1);
