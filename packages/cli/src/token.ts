import { exchangeToken } from "@gatehouse/client";
import type { Inspection } from "@gatehouse/protocol";
import type { Command } from "commander";
import { askSecret } from "./ask.ts";
import { addCommand, addNoun } from "./command.ts";
import { readSeconds } from "./duration.ts";
import { CliError } from "./exit.ts";
import type { Me } from "./me.ts";
import { facts, moment, note } from "./output.ts";
import { idOf } from "./principal.ts";
import { readScope } from "./scope.ts";
import { findSpace } from "./space.ts";

/** The slug of the space that is named, or of the one in use. */
const slugOf = async (me: Me, given: string | undefined): Promise<string> =>
  given === undefined ? me.space() : (await findSpace(await me.client(), given)).slug;

interface Wanted {
  space?: string;
  scope: string;
  ttl: string;
}

const wanting = (command: Command) =>
  command
    .requiredOption("--scope <permissions>", "what it may do, with spaces between: within what you may")
    .option("--space <space>", "the space it is good in (default: the one in use)")
    .option("--ttl <time>", "how long it lives: 90s, 15m, 2h, at most 24h", "1h");

/** The token goes to stdout alone, so that a script can take it. */
function showToken({ token, expiresAt, scope }: { token: string; expiresAt: string; scope: string[] }): string {
  note(`Good for ${scope.join(" ")}, until ${moment(expiresAt)}.`);
  return token;
}

export function addToken(program: Command): void {
  const token = addNoun(program, "token", "Short-lived tokens that may do part of what you may: create, exchange, inspect, revoke.");

  addCommand(token, {
    usage: "create",
    summary: "Mint a token for one space, with a scope of its own. It ends with what it came from.",
    examples: [
      'token create --scope "write:tasks:support read:sessions" --ttl 15m',
      "token create --space Support --scope read --json",
      "token create --scope write:tasks:support --for support-bot",
    ],
    options: (command) => wanting(command).option("--for <agent>", "let this agent act for you with it, by its own key: me token exchange"),
    async run(me, { space, scope, ttl, for: agent }: Wanted & { for?: string }) {
      const slug = await slugOf(me, space);
      const client = await me.client();
      const mayAct = agent === undefined ? undefined : await idOf(me, await me.inSpace(slug), agent, "a");
      const made = await client.token.create({ space: slug, scope: readScope(scope), ttlSeconds: readSeconds(ttl), mayAct });
      return { token: made.token, expiresAt: made.expiresAt, scope: made.scope };
    },
    show: showToken,
  });

  addCommand(token, {
    usage: "exchange",
    summary: "As an agent: exchange the token that a user made for you, read from stdin, for one by which you act for them.",
    examples: ['token exchange --scope "write:tasks:support" < subject-token.txt'],
    options: (command) => wanting(command),
    async run(me, { space, scope, ttl }: Wanted) {
      const subject = await askSecret(me, "The user's token");
      const target = await me.target();
      return exchangeToken(target, { subject, space: await slugOf(me, space), scope: readScope(scope), ttlSeconds: readSeconds(ttl) });
    },
    show: showToken,
  });

  addCommand(token, {
    usage: "inspect",
    summary: "Tell whether a token or key of yours is good, and for what. It is read from stdin.",
    examples: ["token inspect < token.txt"],
    run: async (me) => (await me.client()).token.inspect({ token: await askSecret(me, "The token or key") }),
    show: showInspection,
  });

  addCommand(token, {
    usage: "revoke",
    summary: "End a token or key of yours, at once and for good. It is read from stdin.",
    examples: ["token revoke < token.txt"],
    async run(me) {
      const credential = await askSecret(me, "The token or key");
      const client = await me.client();
      const { active } = await client.token.inspect({ token: credential });
      if (!active) throw new CliError("not found", "That is no token or key of yours, or it is not good any more.");
      await client.token.revoke({ token: credential });
      return { revoked: true };
    },
    show: () => "Revoked.",
  });
}

const showInspection = ({ active, principal, session, act, mayAct, space, scope, expiresAt, kind, id }: Inspection): string =>
  active
    ? facts({
        Good: "yes",
        Kind: kind,
        For: principal?.name,
        Session: session,
        "Acting for them": act?.name,
        "Only for agent": mayAct,
        Space: space,
        Scope: scope?.join(" ") ?? "not limited",
        Expires: moment(expiresAt ?? null),
        Id: id,
      })
    : "Not good: invalid, expired, revoked, or not yours.";
