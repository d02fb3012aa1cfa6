import { GatehouseError } from "@gatehouse/client";
import { CliError } from "../exit.ts";
import type { Login, Store } from "../store.ts";
import { oauthError, refresh } from "./oauth.ts";

/**
 * The token of a kept login, renewed before it expires. A refresh token is good once, and a second use ends the login
 * on the server: so one process at a time renews, and looks first whether another has just done so. One that is refused
 * and can't be renewed may have been replaced: another `me` signs in while this one runs.
 * @returns what the client asks for each call, with the token that was refused, if one was
 * @throws CliError "not signed in" when the login has ended
 */
export function tokenOf(store: Store, server: string): (refused?: string) => Promise<string | undefined> {
  let login: Login | undefined;
  return async (refused) => {
    const known = login?.token === refused && !login?.refreshToken ? undefined : login;
    const kept = known ?? (await store.login(server));
    login = kept && isRipe(kept, refused) ? await renewed(store, server, refused) : kept;
    if (refused !== undefined && (!login || login.token === refused)) throw hasEnded();
    return login?.token;
  };
}

const hasEnded = (cause?: unknown) => new CliError("not signed in", "Your login has ended. Sign in again: me login", { cause });

const isRipe = ({ token, refreshToken, refreshAt = "" }: Login, refused: string | undefined): boolean =>
  refreshToken !== undefined && (token === refused || Date.parse(refreshAt) <= Date.now());

async function renewed(store: Store, server: string, refused: string | undefined): Promise<Login> {
  let ended: unknown;
  const login = await store.renew(server, async (kept) => {
    if (!kept?.refreshToken || !isRipe(kept, refused)) return kept;
    try {
      return await refresh(server, kept.refreshToken);
    } catch (error) {
      ended = error;
      if (oauthError(error) === "invalid_grant") return undefined;
      const stillGood = kept.token !== refused && Date.parse(kept.expiresAt ?? "") > Date.now();
      // The answer may have been lost, and the refresh token be spent: to try again now could end what is still good.
      if (stillGood && error instanceof GatehouseError) return { ...kept, refreshAt: kept.expiresAt as string };
      throw error;
    }
  });
  if (login) return login;
  throw hasEnded(ended);
}
