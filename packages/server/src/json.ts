import { Refusal } from "./refusal.ts";

/** A value that is kept as its JSON text: what is answered often is written out once. */
export class JsonText {
  readonly text: string;

  constructor(value: unknown) {
    this.text = JSON.stringify(value);
  }
}

/** The JSON text of a result. */
export const toJson = (value: unknown): string => (value instanceof JsonText ? value.text : JSON.stringify(value));

/** Deepest nesting that params may have. */
const MAX_DEPTH = 64;
/** Most elements of one array, or members of one object. */
const MAX_ENTRIES = 10_000;
/** Most values of one body: arrays, objects and what they hold. */
const MAX_VALUES = 25_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Parses a body as JSON in UTF-8, at every door alike. A byte order mark before it is ignored (RFC 8259 §8.1). Its values are
 * counted first: to parse many small ones, and to check each, costs far more than their bytes tell.
 * @throws Refusal PAYLOAD_TOO_LARGE, PARSE_ERROR
 */
export function readJson(body: Uint8Array | undefined): { text: string; value: unknown } {
  const bytes = body ?? new Uint8Array();
  countValues(bytes);
  try {
    const text = utf8.decode(bytes);
    return { text, value: JSON.parse(text) };
  } catch (cause) {
    throw new Refusal("PARSE_ERROR", undefined, {}, { cause: cause instanceof SyntaxError ? "not JSON" : "not UTF-8" });
  }
}

/** The same, of what may be no JSON: undefined. @throws Refusal PAYLOAD_TOO_LARGE */
export function tryReadJson(body: unknown): unknown {
  try {
    return readJson(body as Uint8Array | undefined).value;
  } catch (thrown) {
    if (thrown instanceof Refusal && thrown.code === "PARSE_ERROR") return undefined;
    throw thrown;
  }
}

/** One pass over the bytes of a body, which ends at the first value too many. @returns how many it holds @throws Refusal PAYLOAD_TOO_LARGE */
export function countValues(bytes: Uint8Array, most = MAX_VALUES): number {
  /** Entries of each array and object that is open here, down to MAX_DEPTH. */
  const entries = new Uint32Array(MAX_DEPTH + 1);
  let depth = 0;
  let values = 1;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) i = endOfBytes(bytes, i);
    else if (byte === COMMA || byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      if (byte !== COMMA && ++depth <= MAX_DEPTH) entries[depth] = 0;
      if (++values > most) throw new Refusal("PAYLOAD_TOO_LARGE", `The request holds more than ${most} values. Send fewer at a time.`);
      if (depth <= MAX_DEPTH && ++(entries[depth] as number) > MAX_ENTRIES)
        throw new Refusal(
          "PAYLOAD_TOO_LARGE",
          `An array or object of the request holds more than ${MAX_ENTRIES} entries. Send fewer at a time.`,
        );
    } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth = Math.max(0, depth - 1);
  }
  return values;
}

/** The index of the quote that ends the string which begins at `start`; past the end where none does. */
function endOfBytes(bytes: Uint8Array, start: number): number {
  for (let end = bytes.indexOf(QUOTE, start + 1); end >= 0; end = bytes.indexOf(QUOTE, end + 1)) {
    let slashes = 0;
    while (bytes[end - 1 - slashes] === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return bytes.length;
}

/** What `JSON.parse` does not tell of one JSON-RPC message. */
export interface Lexical {
  /** The text of the message's `id`, so that it can be echoed exactly: numbers lose digits when parsed. */
  idText?: string;
  /** What is wrong in the members of the message itself. */
  envelopeFlaws: string[];
  /** What is wrong inside its `params`: told only to a caller who may call the method. */
  paramsFlaws: string[];
}

interface Frame {
  keys: Set<string> | undefined;
  key: string | undefined;
}

/**
 * Looks through the text of a JSON value, or an array of values, for what parsers disagree about:
 * keys that stand twice in one object (RFC 8259 §4), keys that reach into prototypes, and nesting
 * without end. Iterative, so that depth costs no stack; what is beneath MAX_DEPTH is not looked at.
 * @param text JSON that has been parsed, so that its syntax is known to be right
 * @returns one entry a message
 */
export function examine(text: string): Lexical[] {
  const batch = /^\s*\[/.test(text);
  const top = batch ? 2 : 1;
  const found: Lexical[] = batch ? [] : [{ envelopeFlaws: [], paramsFlaws: [] }];
  const frames: Frame[] = [];
  let depth = 0;
  let idStart = -1;

  const flaw = (message: string) => {
    const inEnvelope = frames.length === top;
    const flaws = found.at(-1)?.[inEnvelope ? "envelopeFlaws" : "paramsFlaws"];
    if (flaws?.length === 0) flaws.push(message); // one is enough to refuse, and is all that is told
  };
  const endOfMember = (at: number) => {
    if (idStart < 0 || depth !== top) return;
    (found.at(-1) as Lexical).idText = text.slice(idStart, at).trim();
    idStart = -1;
  };

  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    const frame = frames.at(-1);
    if (batch && depth === 1 && found.length === 0 && !/[\s\]]/.test(char as string)) found.push({ envelopeFlaws: [], paramsFlaws: [] });
    if (char === '"') {
      const end = endOfString(text, i);
      if (depth <= MAX_DEPTH && frame?.keys && frame.key === undefined) {
        const key = text.slice(i + 1, end);
        frame.key = key.includes("\\") ? (JSON.parse(`"${key}"`) as string) : key;
        if (frame.key === "__proto__") flaw('the key "__proto__" is not accepted');
        else if (frame.keys.has(frame.key)) flaw(`the key ${JSON.stringify(frame.key.slice(0, 64))} stands twice in one object`);
        frame.keys.add(frame.key);
      }
      i = end;
    } else if (char === "{" || char === "[") {
      depth++;
      if (depth === MAX_DEPTH + 1) flaw(`nested deeper than ${MAX_DEPTH}`);
      if (depth <= MAX_DEPTH) frames.push({ keys: char === "{" ? new Set() : undefined, key: undefined });
    } else if (char === "}" || char === "]") {
      endOfMember(i);
      if (depth <= MAX_DEPTH) frames.pop();
      depth--;
    } else if (char === ",") {
      endOfMember(i);
      if (depth <= MAX_DEPTH && frame) frame.key = undefined;
      if (batch && depth === 1) found.push({ envelopeFlaws: [], paramsFlaws: [] });
    } else if (char === ":" && depth === top && frame?.key === "id") idStart = i + 1;
  }
  return found;
}

/** The index of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text[end - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return end;
  }
}
