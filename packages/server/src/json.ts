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
    found.at(-1)?.[inEnvelope ? "envelopeFlaws" : "paramsFlaws"].push(message);
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
        frame.key = JSON.parse(text.slice(i, end + 1)) as string;
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
  let i = start + 1;
  while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i;
}
