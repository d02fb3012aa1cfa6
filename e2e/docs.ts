import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tools } from "@gatehouse/mcp";
import {
  errors,
  MAX_BODY_BYTES,
  MAX_EVENT_BYTES,
  MAX_INPUTS_PER_MINUTE,
  MAX_METADATA_BYTES,
  MAX_QUEUED_TURNS,
  MAX_TASKS,
  MAX_TASKS_PER_KEY,
  MAX_WAIT_SECONDS,
  PAGE_BYTES,
  spaceApi,
} from "@gatehouse/protocol";
import { KEY_PATTERN, Settings } from "@gatehouse/server";
import { callers, policyTable, ruleTexts } from "@gatehouse/server/policy";
import { exitCodes } from "../packages/cli/src/exit.ts";
import { type Limited, limits } from "../packages/server/src/people/limits.ts";
import { routes } from "../packages/server/src/sessions/door.ts";

/** The parts of the docs that are generated, by file and marker: each fact stands in the code once. */
const parts: Record<string, Record<string, () => string>> = {
  "AUTH_DESIGN.md": { "user policy": () => policy("user"), "space policy": () => policy("space"), rules },
  "docs/credentials.md": { "key-pattern": () => `\`\`\`regex\n${KEY_PATTERN}\n\`\`\`` },
  "docs/sessions.md": { routes: routeTable, "session limits": sessionLimits },
  "docs/mcp.md": { tools: toolTable },
  "docs/operating.md": { limits: limitTable },
  "docs/settings.md": { settings },
  "docs/errors.md": { errors: errorTable, "exit codes": exitCodeTable },
};

const ROOT = join(import.meta.dirname, "..");

const markdownTable = (heading: readonly string[], rows: readonly (readonly string[])[]): string =>
  [heading, heading.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`)
    .join("\n");

function policy(door: "user" | "space"): string {
  return markdownTable(
    ["method", "who", "needs", ...Object.keys(callers)],
    policyTable()
      .filter((row) => row.door === door)
      .map(({ method, who, needs, admits }) => [
        `\`${method}\``,
        who,
        needs ?? "",
        ...Object.values(admits).map((yes) => (yes ? "yes" : "–")),
      ]),
  );
}

function rules(): string {
  return Object.entries(ruleTexts())
    .map(([label, text]) => `- **${label}**: ${text}.`)
    .join("\n");
}

function routeTable(): string {
  const rows = routes.map(({ verb, path, method }) => [
    `\`${verb} ${path.replace("*", ":task")}\``,
    `\`${method}\``,
    spaceApi[method].summary,
  ]);
  const stream = ["`GET /sessions/:session/out`", "", "The log as it grows, as server-sent events."];
  return markdownTable(["address", "method", "what it does"], [...rows, stream]);
}

function sessionLimits(): string {
  const kib = (bytes: number) => `${bytes / 1024} KiB`;
  return markdownTable(
    ["of", "at most"],
    [
      ["a request", kib(MAX_BODY_BYTES)],
      ["a message, an action, a batch of chunks", kib(MAX_EVENT_BYTES)],
      ["metadata of a session", kib(MAX_METADATA_BYTES)],
      ["a page of a list", `${kib(PAGE_BYTES)}, but at least one row`],
      ["tasks of a space", String(MAX_TASKS)],
      ["tasks that one key registered", String(MAX_TASKS_PER_KEY)],
      ["inputs of one session that wait for their turn", String(MAX_QUEUED_TURNS)],
      ["inputs of one session in any minute", String(MAX_INPUTS_PER_MINUTE)],
      ["a worker's question that waits for an answer", `${MAX_WAIT_SECONDS} s`],
    ],
  );
}

function toolTable(): string {
  const does = { read: "reads", append: "adds", write: "changes" } as const;
  return markdownTable(
    ["tool", "what it does", "takes", "", "method"],
    tools.map(({ name, summary, effect, params, method }) => [
      `\`${name}\``,
      summary,
      Object.entries(params.shape)
        .map(([param, schema]) => (schema.safeParse(undefined).success ? `${param}?` : param))
        .join(", "),
      does[effect],
      `\`${method}\``,
    ]),
  );
}

function limitTable(): string {
  const times: Record<number, string> = { 60: "a minute", 3600: "an hour" };
  const told = (limit: Limited["account"]) =>
    limit ? [limit.max, limit.of, times[limit.seconds] ?? `in ${limit.seconds / 60} minutes`].filter(Boolean).join(" ") : "";
  return markdownTable(
    ["what", "for each address", "for each account"],
    [
      ...Object.values<Limited>(limits).map(({ what, address, account }) => [what, told(address), told(account)]),
      ["wrong credentials, at any door", "`FAILED_AUTH_LIMIT` a minute", ""],
      ["all requests of one share, see below", "`RATE_LIMIT` a minute", ""],
    ],
  );
}

function settings(): string {
  const rows = Object.entries(Settings.shape).map(([name, schema]) => {
    const fallback = schema.meta()?.default ?? Settings.partial().parse({})[name as keyof typeof Settings.shape];
    return [`\`${name}\``, schema.description ?? "", Array.isArray(fallback) ? "none" : String(fallback ?? "none")];
  });
  return markdownTable(["variable", "what it sets", "default"], rows);
}

function errorTable(): string {
  const http = (number: number) => (number > 0 ? String(number) : "200");
  return markdownTable(
    ["`error.data.code`", "`error.code`", "HTTP", "says"],
    Object.entries(errors).map(([code, { number, message }]) => [`\`${code}\``, String(number), http(number), message]),
  );
}

function exitCodeTable(): string {
  return markdownTable(
    ["exit code", "means"],
    Object.entries(exitCodes).map(([ending, code]) => [String(code), ending]),
  );
}

/** Every file with generated parts: as it is, and as it should be. */
export async function generatedDocs(): Promise<{ file: string; is: string; shouldBe: string }[]> {
  return Promise.all(
    Object.entries(parts).map(async ([file, markers]) => {
      const is = await readFile(join(ROOT, file), "utf8");
      let shouldBe = is;
      for (const [marker, make] of Object.entries(markers)) {
        const place = new RegExp(`(<!-- generated: ${marker} -->\n)[\\s\\S]*?(<!-- end -->)`);
        if (!place.test(is)) throw new Error(`${file} has no place for ${marker}`);
        shouldBe = shouldBe.replace(place, (_all, before: string, after: string) => `${before}\n${make()}\n\n${after}`);
      }
      return { file, is, shouldBe };
    }),
  );
}

if (import.meta.main) for (const { file, shouldBe } of await generatedDocs()) await writeFile(join(ROOT, file), shouldBe);
