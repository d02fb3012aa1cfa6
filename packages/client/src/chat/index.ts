export { assemble } from "./assemble.ts";
export { type Chat, type ChatTarget, createChatTransport } from "./chat-transport.ts";
export { messagesOf, Transcript } from "./transcript.ts";
