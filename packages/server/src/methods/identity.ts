import { callerKinds, formatPermission, type identityMethods } from "@gatehouse/protocol";
import type { Handlers } from "../rpc.ts";

export const identityHandlers: Handlers<typeof identityMethods> = {
  async whoami(_input, { actor: { principal, owner, credential, act } }) {
    const { via, id, expiresAt, ceiling, scope, space, onlySession } = credential;
    const shown = { via, id, expiresAt, scope: (scope ?? ceiling)?.map(formatPermission) ?? null, space: space ?? null };
    // A browser is nobody: who made its token is not told.
    if (onlySession !== undefined)
      return { id: onlySession, kind: "b", email: null, name: callerKinds.b, credential: shown, owner: null, act: null };
    return {
      ...principal,
      credential: shown,
      owner,
      act: act ? { ...act.principal, kind: "a" } : null,
    };
  },
};
