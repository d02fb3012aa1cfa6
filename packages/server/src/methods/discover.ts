import { type Api, type SpaceApi, spaceApi, type UserApi, userApi } from "@gatehouse/protocol";
import { createDescribe } from "../openrpc.ts";
import { spacePolicy, userPolicy } from "../policy.ts";
import type { Handlers } from "../rpc.ts";
import type { Policy } from "../rules.ts";

/** The result is JSON that is written out already: only what writes out the answer sees that. */
function discover<A extends Api>(api: A, policy: Policy<A>): Handlers<UserApi>["rpc.discover"] {
  const describe = createDescribe(api, policy);
  return async (_input, { actor }) => describe(actor) as never;
}

export const userDiscoverHandlers: Pick<Handlers<UserApi>, "rpc.discover"> = { "rpc.discover": discover(userApi, userPolicy) };
export const spaceDiscoverHandlers: Pick<Handlers<SpaceApi>, "rpc.discover"> = { "rpc.discover": discover(spaceApi, spacePolicy) };
