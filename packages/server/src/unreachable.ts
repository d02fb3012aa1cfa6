/** Errors of the connection rather than of the statement: by Node code, or SQLSTATE (classes 08, 53, 57P). */
const UNREACHABLE = /^(ECONN|EHOST|ENET|ENOENT|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|ERR_(SOCKET|SSL|STREAM|TLS)|08|53|57P)/;
/** The same, where the driver gives no code. */
const LOST =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout exceeded when trying to connect|Cannot use a pool after)/;

/** Whether an error says that the database can't be reached, or has gone, rather than what is wrong with a statement. */
export const isUnreachable = (error: unknown): boolean => {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return code === undefined ? LOST.test(String(message)) : UNREACHABLE.test(String(code));
};
