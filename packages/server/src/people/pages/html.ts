/** Text that is HTML already. Everything else that goes into a page is escaped. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | false | undefined | null | Part[];

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** HTML from a template. What is put in is escaped, unless it is Html; lists are joined; false, null and undefined leave nothing. */
export const html = (texts: TemplateStringsArray, ...parts: Part[]): Html =>
  new Html(texts.map((text, i) => text + (i < parts.length ? textOf(parts[i]) : "")).join(""));

function textOf(part: Part): string {
  if (part instanceof Html) return part.text;
  if (Array.isArray(part)) return part.map(textOf).join("");
  if (part === false || part === undefined || part === null) return "";
  return String(part).replace(/[&<>"']/g, (sign) => entities[sign] ?? sign);
}

const DOUBLE_QUOTES = /["“”„‟″〝〞＂❝❞]/g;

/** A name that somebody has chosen, in quotes that it can't close: whatever it says, it does not read like words of the page. */
export const named = (name: string): Html => html`<bdi class="named">“${name.replace(DOUBLE_QUOTES, "’")}”</bdi>`;
