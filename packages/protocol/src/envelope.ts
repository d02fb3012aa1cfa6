import type { ErrorData } from "./errors.ts";

/** A request id: echoed exactly (JSON-RPC 2.0 §4). */
export type RequestId = string | number | null;

/** A call as it travels. Without an `id` it is a notification, and gets no answer. */
export interface RpcRequest {
  jsonrpc: "2.0";
  id?: RequestId;
  method: string;
  params?: unknown[] | Record<string, unknown>;
}

/** The error object of JSON-RPC 2.0 §5.1, the one error shape of Gatehouse. */
export interface RpcError {
  code: number;
  message: string;
  data: ErrorData;
}

/** The answer to a call that had an id. */
export type RpcResponse = { jsonrpc: "2.0"; id: RequestId; result: unknown } | { jsonrpc: "2.0"; id: RequestId; error: RpcError };

/** Most calls one batch may hold. */
export const MAX_BATCH = 100;

/** Most bytes a request body may have. */
export const MAX_BODY_BYTES = 1024 * 1024;
