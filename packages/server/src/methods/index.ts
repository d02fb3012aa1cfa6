import type { UserApi } from "@gatehouse/protocol";
import type { Handlers } from "../rpc.ts";
import { agentHandlers } from "./agent.ts";
import { apiKeyHandlers } from "./api-key.ts";
import { discoverHandlers } from "./discover.ts";
import { identityHandlers } from "./identity.ts";
import { spaceHandlers } from "./space.ts";

/** What the user RPC does: a handler for every method of the contract, or this does not compile. */
export const userHandlers: Handlers<UserApi> = {
  ...identityHandlers,
  ...spaceHandlers,
  ...agentHandlers,
  ...apiKeyHandlers,
  ...discoverHandlers,
};
