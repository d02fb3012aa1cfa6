export { type AgentSpec, type ChatAgent, type Conversation, chatAgent, type Ended, isChatAgent, type Turn } from "./agent.ts";
export type { Answer } from "./answer.ts";
export { type ServeOptions, type Serving, serve } from "./serve.ts";
export type { Leave } from "./worker.ts";
