const MOST_ROWS_OF_A_PAGE = 1000;

/** All rows of a method that answers page by page, or the first so many. */
export async function everyPage<Answer extends { next: string | null }, Row>(
  call: (params: { after?: string; limit: number }) => Promise<Answer>,
  rowsOf: (answer: Answer) => readonly Row[],
  most = Number.POSITIVE_INFINITY,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (let after: string | null | undefined; after !== null && rows.length < most; ) {
    const limit = Math.min(MOST_ROWS_OF_A_PAGE, most - rows.length);
    const answer: Answer = await call({ limit, ...(after !== undefined && { after }) });
    rows.push(...rowsOf(answer));
    after = answer.next;
  }
  return rows;
}

/** Rows by their names, whatever the case. */
export const byName = <Row extends { name: string }>(rows: readonly Row[]): Row[] =>
  rows.toSorted((a, b) => a.name.localeCompare(b.name, "en"));
