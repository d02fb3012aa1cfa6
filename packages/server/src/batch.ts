import type { Api, Method } from "@gatehouse/protocol";
import type { Message } from "./envelope.ts";
import { Refusal } from "./refusal.ts";
import { slice } from "./turns.ts";

/** Calls of one batch that are under way at once. */
const PARALLEL = 8;
/** Most that the calls of a batch may cost together. */
const MAX_COST = 500;
/** Most characters of answers after which no further call of a batch is begun. */
const MAX_CHARACTERS = 2_097_152;

/** What a call costs of its caller's budget where its contract does not say: a read of what is remembered costs 1. */
const COSTS: Record<Method["effect"], number> = { read: 1, append: 1, write: 5 };

/** The method that a message names; undefined where there is none of that name. */
export function contractOf(api: Api, { value }: Message): Method | undefined {
  const { method } = (value ?? {}) as { method?: unknown };
  return typeof method === "string" && Object.hasOwn(api, method) ? api[method] : undefined;
}

/** What a call costs of its caller's budget: one of no method costs as much as the cheapest. */
export const costOf = (contract: Method | undefined): number => contract?.cost ?? COSTS[contract?.effect ?? "read"];

/** Whether all calls of a batch take authority back. */
export const areUrgent = (api: Api, messages: readonly Message[]): boolean =>
  messages.every((message) => contractOf(api, message)?.takesBack);

/** Bounds a batch by what its calls cost, besides their number. @throws Refusal INVALID_REQUEST */
export function mustAfford(api: Api, messages: readonly Message[]): void {
  const cost = messages.reduce((sum, message) => sum + costOf(contractOf(api, message)), 0);
  if (cost > MAX_COST)
    throw new Refusal(
      "INVALID_REQUEST",
      `The calls of this batch cost ${cost}; a batch may cost ${MAX_COST}. Send them in several requests.`,
    );
}

/**
 * Answers the calls of a batch in order, some of them at once.
 * @param run answers one; `over` is its refusal, once the answers before it are too long together
 * @returns the texts of the answers, without those of notifications
 */
export async function answerBatch(
  messages: readonly Message[],
  run: (message: Message, over?: Refusal) => Promise<string | undefined>,
): Promise<string[]> {
  const texts = new Array<string | undefined>(messages.length);
  const queue = messages.entries();
  let characters = 0;
  const worker = async () => {
    for (const [i, message] of queue) {
      await slice();
      const text = await run(message, characters > MAX_CHARACTERS ? TOO_LONG : undefined);
      characters += text?.length ?? 0;
      texts[i] = text;
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, messages.length) }, worker));
  return texts.filter((text) => text !== undefined);
}

const TOO_LONG = new Refusal("ANSWER_TOO_LARGE");
