import { setTimeout as delay } from "node:timers/promises";

/** How late a refusal is told, in milliseconds, and how many at once. */
const DELAY_MS = 1000;
const MAX_DELAYED = 10_000;

let delayed = 0;

/** Waits before a refusal of too much is told: whoever asks again at once gains nothing by it, and takes up nobody's time. */
export async function late(): Promise<void> {
  if (delayed >= MAX_DELAYED) return;
  delayed++;
  await delay(DELAY_MS);
  delayed--;
}
