/** All rows of a method that answers page by page. */
export async function everyPage<Answer extends { next: string | null }, Row>(
  call: (params: { after?: string; limit: number }) => Promise<Answer>,
  rowsOf: (answer: Answer) => readonly Row[],
): Promise<Row[]> {
  const rows: Row[] = [];
  for (let after: string | null | undefined; after !== null; ) {
    const answer: Answer = await call({ limit: 1000, ...(after !== undefined && { after }) });
    rows.push(...rowsOf(answer));
    after = answer.next;
  }
  return rows;
}

/** Rows by their names, whatever the case. */
export const byName = <Row extends { name: string }>(rows: readonly Row[]): Row[] =>
  rows.toSorted((a, b) => a.name.localeCompare(b.name, "en"));
