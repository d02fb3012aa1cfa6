export { type Chat, type ChatTarget, createChatTransport } from "./chat-transport.ts";
export { assemble, messagesOf, Transcript } from "./transcript.ts";
