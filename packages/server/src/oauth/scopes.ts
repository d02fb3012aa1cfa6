import { type Permission, PermissionText, parsePermission } from "@gatehouse/protocol";

/** The door for programs of others, which is a resource of its own (RFC 8707): tokens made for it open no other. */
export const MCP = "/mcp";

/** What a login of the command line may be for: `account` is to act as the person, in person; `offline_access` to stay signed in (OIDC Core §11). */
export const LOGIN_SCOPES = ["account", "offline_access"] as const;

/** What people may let programs of others do (RFC 6749 §3.3): permissions, each of a whole type, and in plain words. */
export const programScopes = {
  "read:tasks": "See the agents, and read the conversations with them",
  "write:tasks": "Start conversations with agents, and read and write in all of them",
  "read:sessions": "Read all conversations",
  "write:sessions": "Start conversations, and read and write in all of them",
  "read:members": "See who is in the space, with e-mail addresses, and who is invited",
  "read:groups": "See the groups, and who is in them",
  "read:grants": "See who may do what",
  "read:audit": "Read the record of changes",
} as const;

/** What a program is told to ask for first: enough to talk with agents. It asks for more when more is needed. */
export const CHAT_SCOPES = ["write:tasks"] as const satisfies (keyof typeof programScopes)[];

/** All that a program of others may ask for. */
export const PROGRAM_SCOPES = [...Object.keys(programScopes), "offline_access"];

/** The permissions among the scopes of a login. */
export const permissionsOf = (scopes: readonly string[]): Permission[] =>
  scopes.filter((scope) => PermissionText.safeParse(scope).success).map(parsePermission);
