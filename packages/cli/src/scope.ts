import { PermissionText, splitScope } from "@gatehouse/protocol";
import { CliError } from "./exit.ts";

/** The permissions of `--scope`, with spaces between, as OAuth writes a scope (RFC 6749 §3.3). @throws CliError "usage" */
export function readScope(text: string): string[] {
  const scope = splitScope(text);
  if (scope.length === 0)
    throw new CliError("usage", 'The --scope is empty. Name permissions, as in --scope "write:tasks:support read:sessions"');
  for (const permission of scope) {
    const { error } = PermissionText.safeParse(permission);
    if (error) throw new CliError("usage", `The --scope ${JSON.stringify(permission)} ${error.issues[0]?.message}`);
  }
  return scope;
}
