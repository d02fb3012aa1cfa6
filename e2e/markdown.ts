import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";

/** A fenced block of a page, and the block of output that the page shows right after it. */
export interface Step {
  language: string;
  code: string;
  /** What the page says it prints. */
  shown: string | undefined;
}

/** What a step did when it was run. */
export interface Ran {
  code: string;
  exit: number;
  output: string;
}

/** The blocks of a page that people are to run, in order. */
export function stepsOf(markdown: string): Step[] {
  const blocks = [...markdown.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = "", code = ""]) => ({ language, code }));
  return blocks.flatMap(({ language, code }, i) => {
    if (language === "text") return [];
    const next = blocks[i + 1];
    return [{ language, code, shown: next?.language === "text" ? next.code : undefined }];
  });
}

/**
 * Runs shell steps one after the other in one bash, so that what one sets the next one sees.
 * @param prelude run before them, such as a function that the page takes for granted
 */
export async function runSteps(
  steps: readonly Step[],
  options: { cwd: string; env: Record<string, string>; prelude?: string },
): Promise<Ran[]> {
  const mark = "\u0001";
  const script = steps.map(({ code }) => `{\n${code}\n} 2>&1\nprintf '${mark}%d${mark}' $?`).join("\n");
  const child = spawn("bash", ["-c", `${options.prelude ?? ""}\n${script}`], {
    cwd: options.cwd,
    env: options.env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [printed] = await Promise.all([text(child.stdout), once(child, "close")]);
  const parts = printed.split(mark);
  return steps.map(({ code }, i) => ({ code, output: parts[2 * i] ?? "", exit: Number(parts[2 * i + 1] ?? Number.NaN) }));
}

/** Output with what differs from run to run made alike: ids, moments and the secret part of keys. */
export const likened = (output: string): string =>
  output
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, "<id>")
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\dZ/g, "<moment>")
    .trim();
