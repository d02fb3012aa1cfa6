import { GatehouseError } from "@gatehouse/client";
import { ExternalId, errors, Id, Next, page, type Session, SessionRef, TaskPath, Timestamp } from "@gatehouse/protocol";
import { z } from "zod";
import { answerTo, insist, say } from "./answer.ts";
import { ToolError, telling } from "./failure.ts";
import { type At, tool } from "./tool.ts";

const chatId = SessionRef.describe("the chat, as start_agent_chat or list_agent_chats names it");
const message = z.string().min(1).describe("what to say");
const run = z.strictObject({ id: Id }).describe("the run that answers: one worker's hold of the chat");
const inputId = z
  .string()
  .min(1)
  .max(128)
  .optional()
  .describe("names the message: said again by the same name, as after an error, it counts once");

const Answer = {
  status: z.enum(["complete", "running"]).describe("running: there is no whole answer yet; wait_agent_message goes on waiting for it"),
  text: z.string().describe("the answer, as far as there is one"),
  truncated: z.boolean().optional().describe("true: the answer is longer; read_session reads all of it"),
  turn: z.number().int(),
  next: z.string().optional().describe("where it is running: what to call to go on"),
};

const Chat = z.strictObject({
  chatId: z.string(),
  task: TaskPath,
  status: z.enum(["open", "closed", "expired"]),
  startedAt: Timestamp,
  closedAt: Timestamp.nullable(),
});

/** A chat is a session: a row on the server. Any client that may read it goes on with it. */
const nameOf = ({ externalId, id }: Session): string => externalId ?? id;

export const chatTools = [
  tool({
    name: "start_agent_chat",
    summary:
      "Starts a conversation with an agent, by its task, and says a first message if there is one. With the chatId of a conversation that is there, goes on with it.",
    effect: "append",
    door: "space",
    method: "session.create",
    params: z.strictObject({
      task: TaskPath.describe("the task, as list_agents has it"),
      chatId: SessionRef.optional().describe("a name of your own for it, or an existing chat; left out = a new one"),
      message: message.optional(),
      inputId,
    }),
    result: z.strictObject({
      chatId: z.string(),
      existing: z.boolean(),
      run: run.nullable().describe("the run that answers; null before anything was said"),
      ...z.strictObject(Answer).partial().shape,
    }),
    async run({ task, chatId, message, inputId }, at) {
      const { session, existing } = await begin(at, task, chatId);
      const chat = { chatId: nameOf(session), existing };
      if (message !== undefined)
        return { ...chat, ...(await say(at, { chatId: chat.chatId, message, inputId }).catch(naming(chat.chatId))) };
      return { ...chat, run: existing ? await latestRun(at, session.id) : null };
    },
  }),
  tool({
    name: "send_agent_message",
    summary: "Says something in a conversation, and waits for the agent's answer to it.",
    effect: "append",
    door: "space",
    method: "session.send",
    params: z.strictObject({ chatId, message, inputId }),
    result: z.strictObject({ chatId: z.string(), run, ...Answer }),
    run: async (input, at) => ({ chatId: input.chatId, ...(await say(at, input)) }),
  }),
  tool({
    name: "wait_agent_message",
    summary: "Goes on waiting for the answer of a turn that was still running, or gives it again.",
    effect: "read",
    door: "space",
    method: "session.events",
    params: z.strictObject({ chatId, turn: z.number().int().min(1).describe("the turn, as send_agent_message gave it") }),
    result: z.strictObject({ chatId: z.string(), run: run.nullable(), ...Answer }),
    async run({ chatId, turn }, at) {
      const { lastSeq } = await at.space.session.get({ session: chatId });
      return { chatId, ...(await answerTo(at, { chatId, turn, after: 0, by: lastSeq })) };
    },
  }),
  tool({
    name: "stop_agent_message",
    summary: "Stops the answer that an agent is giving, or the one to the turn that is named. What else waits is answered still.",
    effect: "append",
    door: "space",
    method: "session.stop",
    params: z.strictObject({ chatId, turn: z.number().int().min(1).optional().describe("only if it is this one") }),
    result: z.strictObject({ chatId: z.string(), turn: z.number().int().nullable().describe("null: there was nothing to stop") }),
    run: async ({ chatId, turn }, at) => ({ chatId, turn: (await at.space.session.stop({ session: chatId, turn })).turn }),
  }),
  tool({
    name: "close_agent_chat",
    summary: "Ends a conversation for good. Its log stays.",
    effect: "write",
    door: "space",
    method: "session.close",
    params: z.strictObject({ chatId }),
    result: z.strictObject({
      chatId: z.string(),
      status: Chat.shape.status,
      run: run.nullable().describe("its last run; null: nothing was ever said"),
    }),
    async run({ chatId }, at) {
      const { status } = await insist(at, () => at.space.session.close({ session: chatId }));
      return { chatId, status, run: await latestRun(at, chatId) };
    },
  }),
  tool({
    name: "list_agent_chats",
    summary: "Lists the conversations with agents that you may read, newest first.",
    effect: "read",
    door: "space",
    method: "session.list",
    params: z.strictObject({
      task: TaskPath.optional().describe("only with this agent, and those beneath it"),
      status: Chat.shape.status.optional(),
      ...page,
    }),
    result: z.strictObject({ chats: z.array(Chat), next: Next }),
    async run({ after, ...input }, at) {
      let page: Awaited<ReturnType<typeof at.space.session.list>> = { sessions: [], next: after ?? null };
      // A page without a row, and with more behind it, tells a model nothing.
      do page = await at.space.session.list({ ...input, ...(page.next !== null && { after: page.next }) });
      while (page.sessions.length === 0 && page.next !== null);
      const { sessions, next } = page;
      const chats = sessions.map((session) => {
        const { task, status, createdAt, closedAt } = session;
        return { chatId: nameOf(session), task, status, startedAt: createdAt, closedAt };
      });
      return { chats, next };
    },
  }),
];

/** The conversation that is meant. A new one gets a name at once: asked for twice, as after a line that broke, it is one. */
async function begin(at: At, task: string, chatId = `mcp-${crypto.randomUUID()}`): Promise<{ session: Session; existing: boolean }> {
  if (ExternalId.safeParse(chatId).success) return insist(at, () => at.space.session.create({ task, externalId: chatId }));
  const session = await at.space.session.get({ session: chatId });
  if (session.task !== task) throw new ToolError(`That is a conversation with ${session.task}. Name that task, or leave out the chatId.`);
  // As the server answers for one that is named by an external id.
  const over = ({ open: undefined, closed: "SESSION_CLOSED", expired: "SESSION_EXPIRED" } as const)[session.status];
  if (over) throw new GatehouseError(over, errors[over].message);
  return { session, existing: true };
}

/** What went wrong in a conversation that has just begun tells its name: it goes on by that. */
const naming = (chatId: string) => (error: unknown) => {
  throw telling(error, `The chat is ${chatId}.`);
};

async function latestRun(at: At, session: string): Promise<{ id: string } | null> {
  for (let after: string | undefined, last: { id: string } | null = null; ; ) {
    const { runs, next } = await at.space.run.list({ session, after });
    last = runs.at(-1) ?? last;
    if (next === null) return last && { id: last.id };
    after = next;
  }
}
