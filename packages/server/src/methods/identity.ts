import type { identityMethods } from "@gatehouse/protocol";
import type { Handlers } from "../rpc.ts";

export const identityHandlers: Handlers<typeof identityMethods> = {
  async whoami(_input, { actor: { principal, owner, credential } }) {
    const { via, id, expiresAt } = credential;
    return { ...principal, credential: { via, id, expiresAt }, owner };
  },
};
