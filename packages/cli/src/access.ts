import { styleText } from "node:util";
import type { Explanation, LayerName } from "@gatehouse/protocol";
import type { Command } from "commander";
import { addCommand, addNoun } from "./command.ts";
import { CliError, exitCodes } from "./exit.ts";
import type { Me } from "./me.ts";
import { moment, table } from "./output.ts";
import { everyPage } from "./pages.ts";
import { idOf, idOfNewcomer } from "./principal.ts";

/** A question as typed: what holds a dot is a method, everything else a permission. */
async function questionOf(me: Me, asked: string, { as, params }: { as?: string; params?: string }) {
  const client = await me.inSpace();
  const principal = as === undefined ? undefined : await idOf(me, client, as);
  if (!/^[a-zA-Z]+\.[a-zA-Z]+$/.test(asked)) return { client, question: { principal, permission: asked } };
  return { client, question: { principal, method: asked, ...(params !== undefined && { params: readParams(params) }) } };
}

function readParams(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new CliError("usage", `--params must be JSON, e.g. '{"group":"…"}'.`);
  }
}

const ask = (command: Command) =>
  command
    .option("--as <principal>", "ask about this member, instead of yourself")
    .option("--params <json>", "the params of the method, where a method is asked about");

/** Whose layer it is, in words. */
const layerName = ({ layer, of }: { layer: LayerName; of: string }): string =>
  ({
    grants: `grants of ${of}`,
    owner: `owner ${of}`,
    ceiling: `ceiling of ${of}`,
    actor: `agent ${of}, who acts`,
    "actor-owner": `its owner ${of}`,
    "actor-ceiling": `ceiling of ${of}`,
    token: `scope of ${of}`,
  })[layer];

/** An explanation as a small tree: a line for each layer, and which of them says no. */
function tree(asked: string, { allowed, principal, layers, reason, grantors }: Explanation): string {
  const yes = (is: boolean) => (is ? styleText("green", "yes") : styleText("red", "no"));
  const branches = layers.map(({ layer, of, allows, by }, i) => {
    const stem = i === layers.length - 1 ? "└─" : "├─";
    return `${stem} ${layerName({ layer, of })}: ${yes(allows)}${by === null ? "" : `, by ${by}`}`;
  });
  return [
    `${styleText("bold", asked)} for ${principal.name}: ${yes(allowed)}`,
    ...branches,
    ...(reason !== null && layers.length === 0 ? [reason] : []),
    ...(grantors.length > 0 ? [`Who could change it: ${grantors.join(", ")}`] : []),
  ].join("\n");
}

export function addAccess(program: Command): void {
  const access = addNoun(program, "access", "Who may do what in the space: grant, revoke, list, mine, check, explain.");

  addCommand(access, {
    usage: "grant <principal> <permission>",
    summary: "Give a permission to a member, a group, or an agent of yours that is to join.",
    examples: ["access grant support-bot write:tasks:support", "access grant Support read"],
    async run(me, _options, given, permission) {
      const client = await me.inSpace();
      return client.access.grant({ principal: await idOfNewcomer(me, client, given as string), permission: permission as string });
    },
    show: ({ principal, permission }) => `${principal.name} has ${permission}.`,
  });

  addCommand(access, {
    usage: "revoke <principal> <permission>",
    summary: "Take back a permission, in the words in which it was granted.",
    examples: ["access revoke support-bot write:tasks:support"],
    async run(me, _options, given, permission) {
      const client = await me.inSpace();
      return client.access.revoke({ principal: await idOfNewcomer(me, client, given as string), permission: permission as string });
    },
    show: ({ permission }) => `Revoked ${permission}.`,
  });

  addCommand(access, {
    usage: "list [principal]",
    summary: "List the grants of the space, or those to one principal.",
    examples: ["access list", "access list support-bot"],
    async run(me, _options, given) {
      const client = await me.inSpace();
      const principal = given === undefined ? undefined : await idOf(me, client, given);
      return {
        grants: await everyPage(
          (page) => client.access.list({ principal, ...page }),
          ({ grants }) => grants,
        ),
      };
    },
    show: ({ grants }) =>
      table(
        ["To", "Permission", "By", "Granted"],
        grants.map(({ principal, permission, grantedBy, createdAt }) => [
          principal.name,
          permission,
          grantedBy?.name ?? "",
          moment(createdAt),
        ]),
        "Nothing is granted.",
      ),
  });

  addCommand(access, {
    usage: "mine",
    summary: "Show what you may do in the space, or a member may.",
    examples: ["access mine", "access mine --as support-bot"],
    options: (command) => command.option("--as <principal>", "this member, instead of you"),
    async run(me, { as }: { as?: string }) {
      const client = await me.inSpace();
      return client.access.effective(as === undefined ? {} : { principal: await idOf(me, client, as) });
    },
    show: ({ permissions, layers, truncated }) =>
      [
        permissions.length > 0 ? permissions.join("\n") : "Nothing beyond what every member may.",
        ...(truncated ? ["There are more than fit here. All grants: me access list"] : []),
        ...(layers.length > 1 ? ["", ...layers.map((layer) => `${layerName(layer)}: ${layer.permissions.join(" ") || "nothing"}`)] : []),
      ].join("\n"),
  });

  addCommand(access, {
    usage: "check <permission-or-method>",
    summary: "Tell yes or no. The exit code is 0 for yes, 4 for no.",
    examples: ["access check write:tasks:support", "access check write:tasks --as support-bot"],
    options: ask,
    async run(me, options: { as?: string; params?: string }, asked) {
      const { client, question } = await questionOf(me, asked as string, options);
      const answer = await client.access.check(question);
      if (!answer.allowed) process.exitCode = exitCodes.forbidden;
      return answer;
    },
    show: ({ allowed }) => (allowed ? "yes" : "no"),
  });

  addCommand(access, {
    usage: "explain <permission-or-method>",
    summary: "Tell yes or no, and why: layer by layer.",
    examples: [
      'access explain "write:tasks:support" --as support-bot',
      `access explain group.rename --params '{"group":"01a201c6-557a-765a-b88b-fb6e5b2cf20c","name":"Help"}'`,
    ],
    options: ask,
    async run(me, options: { as?: string; params?: string }, asked) {
      const { client, question } = await questionOf(me, asked as string, options);
      return { asked: asked as string, ...(await client.access.explain(question)) };
    },
    show: ({ asked, ...explanation }) => tree(asked, explanation),
  });
}
