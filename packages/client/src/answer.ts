import type { SessionEvent } from "@gatehouse/protocol";

/** What an event of kind `chunks` adds to the text of an answer. */
export const textOf = ({ data }: SessionEvent): string =>
  (data as { type: string; delta?: unknown }[])
    .map(({ type, delta }) => (type === "text-delta" && typeof delta === "string" ? delta : ""))
    .join("");

/** How a turn ended, by its event `turn-end`, in words; undefined where it was answered. */
export function failureOf({ data, turn }: SessionEvent): string | undefined {
  const { outcome, error } = data as { outcome: string; error?: string };
  if (outcome === "errored") return `The agent failed to answer turn ${turn}: ${error ?? "it did not say why."}`;
  return outcome === "stopped" ? `Turn ${turn} was stopped before it was answered.` : undefined;
}
