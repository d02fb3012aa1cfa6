import { formatPermission, type identityMethods } from "@gatehouse/protocol";
import type { Handlers } from "../rpc.ts";

export const identityHandlers: Handlers<typeof identityMethods> = {
  async whoami(_input, { actor: { principal, owner, credential, act } }) {
    const { via, id, expiresAt, ceiling, scope, space } = credential;
    return {
      ...principal,
      credential: { via, id, expiresAt, scope: (scope ?? ceiling)?.map(formatPermission) ?? null, space: space ?? null },
      owner,
      act: act ? { ...act.principal, kind: "a" } : null,
    };
  },
};
