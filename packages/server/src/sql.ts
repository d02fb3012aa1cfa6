/** Part of a query: text, and the values and other parts that go between. */
export class Fragment {
  readonly strings: readonly string[];
  readonly values: readonly unknown[];

  constructor(strings: readonly string[], values: readonly unknown[] = []) {
    this.strings = strings;
    this.values = values;
  }
}

/** A query as the database gets it. */
export interface Statement {
  /** With placeholders: `$1`, `$2`, … */
  text: string;
  values: unknown[];
  /** Whether there are few enough of its kind that the database may keep it, prepared. */
  kept: boolean;
}

/** Rows, and how many the statement has found or changed. */
export type Rows<T = unknown[]> = T & { readonly count: number };

/** A query: sent once, when it is first awaited. Until then it can become a part of another. */
class Query<T> extends Fragment implements Promise<Rows<T>> {
  readonly [Symbol.toStringTag] = "Query";
  readonly #send: () => Promise<Rows>;
  #sent: Promise<Rows<T>> | undefined;

  constructor(send: () => Promise<Rows>, strings: readonly string[], values: readonly unknown[] = []) {
    super(strings, values);
    this.#send = send;
  }

  // biome-ignore lint/suspicious/noThenProperty: whoever awaits it, sends it
  readonly then: Promise<Rows<T>>["then"] = (done, failed) => {
    this.#sent ??= this.#send() as Promise<Rows<never>>;
    return this.#sent.then(done, failed);
  };
  readonly catch: Promise<Rows<T>>["catch"] = (failed) => this.then(undefined, failed);
  readonly finally: Promise<Rows<T>>["finally"] = (settled) => this.then().finally(settled);
}

/** A row of which nothing is known. */
// biome-ignore lint/suspicious/noExplicitAny: what a column holds is for its reader to know
type Row = Record<string, any>;

/** Runs SQL, as a tagged template: what stands in `${}` is a parameter, or a part made by the same. */
export interface Sql {
  <T extends readonly object[] = Row[]>(strings: TemplateStringsArray, ...values: unknown[]): Query<T>;
  /** A name, such as a table's (`schema.table` too), or several between commas. */
  (names: string | readonly string[]): Fragment;
  /** What follows `insert into …`: the columns of a row, and its values. */
  (row: Readonly<Row>): Fragment;
  /** A value as jsonb. */
  json(value: unknown): Fragment;
  /** Runs text as it is; without parameters it may be several statements, and the last one's rows are told. */
  unsafe<T extends readonly object[] = Row[]>(text: string, values?: unknown[]): Query<T>;
}

/** Makes the template of something that runs statements. */
export function createSql(send: (statement: Statement) => Promise<Rows>): Sql {
  const sql = (first: TemplateStringsArray | string | readonly string[] | Row, ...values: unknown[]) => {
    if (typeof first === "string") return named([first]);
    if (!Array.isArray(first)) return rowOf(first as Row);
    if (!("raw" in first)) return named(first);
    return new Query(async () => send(compose(first, values)), first, values);
  };
  const rest: Pick<Sql, "json" | "unsafe"> = {
    json: (value) => new Fragment(["", "::jsonb"], [JSON.stringify(value)]),
    unsafe: (text, params = []) => new Query(() => send({ text, values: params, kept: false }), [text]),
  };
  return Object.assign(sql, rest) as Sql;
}

/** Puts parts into one text, and numbers their parameters. @throws TypeError for undefined, which is no value */
function compose(strings: readonly string[], values: readonly unknown[]): Statement {
  const statement: Statement = { text: "", values: [], kept: true };
  const add = (part: Pick<Fragment, "strings" | "values">) => {
    for (const [i, string] of part.strings.entries()) {
      statement.text += string;
      if (i === part.values.length) return;
      const value = part.values[i];
      if (value === undefined) throw new TypeError(`A parameter is undefined, after: ${statement.text}`);
      if (value instanceof Fragment) add(value);
      else statement.text += `$${statement.values.push(value)}`;
    }
  };
  add({ strings, values });
  return statement;
}

const quoted = (name: string): string =>
  name
    .replaceAll('"', '""')
    .split(".")
    .map((part) => `"${part}"`)
    .join(".");
const named = (names: readonly string[]): Fragment => new Fragment([names.map(quoted).join(",")]);

function rowOf(row: Row): Fragment {
  const values = Object.values(row);
  const between = values.map((_value, i) => (i === 0 ? `(${Object.keys(row).map(quoted).join(",")}) values (` : ","));
  return new Fragment([...between, ")"], values);
}
