import type { UIMessage } from "ai";

/** All text of a message. */
export const textOf = (message: Pick<UIMessage, "parts"> | undefined): string =>
  message?.parts.map((part) => (part.type === "text" ? part.text : "")).join("") ?? "";
