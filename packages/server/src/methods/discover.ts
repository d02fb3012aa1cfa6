import { userApi } from "@gatehouse/protocol";
import { describeApi } from "../openrpc.ts";
import { userPolicy } from "../policy.ts";
import type { At } from "../rpc.ts";

export const discoverHandlers = {
  "rpc.discover": async (_input: object, { actor }: At) => describeApi(userApi, userPolicy, actor),
};
