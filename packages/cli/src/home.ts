import { homedir } from "node:os";
import { isAbsolute } from "node:path";
import { CliError } from "./exit.ts";

/** The person's home folder. @throws CliError where it is relative, as it would be another one in each folder */
export function homeFolder(): string {
  const home = homedir();
  if (!isAbsolute(home)) throw new CliError("usage", "HOME must be an absolute path: it is where me keeps things.");
  return home;
}
