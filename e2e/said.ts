import type { UIMessage } from "ai";

/** The text that a message begins with. */
export function textOf(message: UIMessage | undefined): string {
  const [part] = message?.parts ?? [];
  return part?.type === "text" ? part.text : "";
}
