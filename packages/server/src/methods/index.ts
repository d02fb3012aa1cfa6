import type { SpaceApi, UserApi } from "@gatehouse/protocol";
import type { Denials } from "../denials.ts";
import type { Handlers } from "../rpc.ts";
import { accessHandlers } from "./access.ts";
import { agentHandlers } from "./agent.ts";
import { apiKeyHandlers } from "./api-key.ts";
import { auditHandlers } from "./audit.ts";
import { spaceDiscoverHandlers, userDiscoverHandlers } from "./discover.ts";
import { groupHandlers } from "./group.ts";
import { identityHandlers } from "./identity.ts";
import { invitedHandlers, inviteHandlers } from "./invite.ts";
import { insideSpaceHandlers, principalHandlers } from "./roster.ts";
import { runHandlers, type Serving } from "./run.ts";
import { secretKeyHandlers } from "./secret-key.ts";
import { sessionHandlers } from "./session.ts";
import { spaceHandlers } from "./space.ts";
import { type Ruled, taskHandlers } from "./task.ts";
import { type Minting, tokenHandlers } from "./token.ts";
import { transferHandlers } from "./transfer.ts";

/** What the user RPC does: a handler for every method of the contract, or this does not compile. */
export const userRpcHandlers = (minting: Minting): Handlers<UserApi> => ({
  ...identityHandlers,
  ...spaceHandlers,
  ...agentHandlers,
  ...transferHandlers,
  ...apiKeyHandlers,
  ...tokenHandlers(minting),
  ...invitedHandlers,
  ...userDiscoverHandlers,
});

/** What the space RPC does. */
export const spaceRpcHandlers = (serving: Serving & Ruled & Pick<Minting, "jwt"> & { denials: Denials }): Handlers<SpaceApi> => ({
  ...insideSpaceHandlers,
  ...principalHandlers,
  ...groupHandlers,
  ...accessHandlers,
  ...inviteHandlers,
  ...secretKeyHandlers,
  ...auditHandlers(serving.denials),
  ...taskHandlers(serving),
  ...sessionHandlers(serving),
  ...runHandlers(serving),
  ...spaceDiscoverHandlers,
});
