/** Errors of the connection rather than of the statement: by Node code, by postgres.js's own, or SQLSTATE (classes 08, 53, 57P). */
const UNREACHABLE = /^(ECONN|EHOST|ENET|ENOENT|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|ERR_(SOCKET|SSL|STREAM|TLS)|CONNECT|08|53|57P)/;

/** Whether an error says that the database can't be reached, or has gone, rather than what is wrong with a statement. */
export const isUnreachable = (error: unknown): boolean => UNREACHABLE.test(String((error as { code?: unknown }).code));
