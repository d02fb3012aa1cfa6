import type { ErrorCode, ErrorData } from "@gatehouse/protocol";

/** What went wrong before the server could answer in its own words. */
export type TransportCode = "UNREACHABLE" | "BAD_ANSWER" | "UNSENDABLE";

/** Every way a call can fail, as one class. `code` is stable; the message is for people. */
export class GatehouseError extends Error {
  override readonly name = "GatehouseError";
  readonly code: ErrorCode | TransportCode;
  /** What else the server said: reason, missing permission, issues. Empty when it was not reached. */
  readonly data: Partial<ErrorData>;
  /** Names the call in the server's log. */
  readonly requestId: string | undefined;

  constructor(code: ErrorCode | TransportCode, message: string, data: Partial<ErrorData> = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.data = data;
    this.requestId = data.requestId;
  }
}
