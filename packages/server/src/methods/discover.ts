import { type SpaceApi, spaceApi, type UserApi, userApi } from "@gatehouse/protocol";
import { describeApi } from "../openrpc.ts";
import { spacePolicy, userPolicy } from "../policy.ts";
import type { Handlers } from "../rpc.ts";

export const userDiscoverHandlers: Pick<Handlers<UserApi>, "rpc.discover"> = {
  "rpc.discover": async (_input, { actor }) => describeApi(userApi, userPolicy, actor),
};

export const spaceDiscoverHandlers: Pick<Handlers<SpaceApi>, "rpc.discover"> = {
  "rpc.discover": async (_input, { actor }) => describeApi(spaceApi, spacePolicy, actor),
};
