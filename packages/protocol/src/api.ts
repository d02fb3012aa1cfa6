import type { z } from "zod";
import { accessMethods } from "./access.ts";
import { agentMethods } from "./agent.ts";
import { apiKeyMethods } from "./api-key.ts";
import { auditMethods } from "./audit.ts";
import { discoverMethods } from "./discover.ts";
import { groupMethods } from "./group.ts";
import { identityMethods } from "./identity.ts";
import { invitedMethods, inviteMethods } from "./invite.ts";
import type { Method } from "./method.ts";
import { principalMethods } from "./principal.ts";
import { runMethods } from "./run.ts";
import { secretKeyMethods } from "./secret-key.ts";
import { sessionMethods } from "./session.ts";
import { insideSpaceMethods, spaceMethods } from "./space.ts";
import { taskMethods } from "./task.ts";
import { tokenMethods } from "./token.ts";
import { transferMethods } from "./transfer.ts";

/** Every method of the user RPC: the registry from which client, documents and tests follow. */
export const userApi = {
  ...identityMethods,
  ...spaceMethods,
  ...agentMethods,
  ...transferMethods,
  ...apiKeyMethods,
  ...tokenMethods,
  ...invitedMethods,
  ...discoverMethods,
};

/** Every method of the space RPC, which is called inside one space. */
export const spaceApi = {
  ...insideSpaceMethods,
  ...principalMethods,
  ...groupMethods,
  ...accessMethods,
  ...inviteMethods,
  ...secretKeyMethods,
  ...taskMethods,
  ...sessionMethods,
  ...runMethods,
  ...auditMethods,
  ...discoverMethods,
};

/** A set of methods that one door serves. */
export type Api = Readonly<Record<string, Method>>;
export type UserApi = typeof userApi;
export type SpaceApi = typeof spaceApi;

/** What a caller may send to method `M` of `A`. */
export type ParamsOf<A extends Api, M extends keyof A> = z.input<A[M]["params"]>;
/** What the handler of method `M` gets: parsed, with defaults filled in. */
export type InputOf<A extends Api, M extends keyof A> = Declared<z.output<A[M]["params"]>>;
/** What method `M` answers. */
export type ResultOf<A extends Api, M extends keyof A> = z.output<A[M]["result"]>;

/** The members that are declared one by one: zod types an object without any as an index of `never`, on which every name would compile. */
type Declared<T> = { [K in keyof T as string extends K ? never : K]: T[K] };
