import type { z } from "zod";
import { agentMethods } from "./agent.ts";
import { apiKeyMethods } from "./api-key.ts";
import { discoverMethods } from "./discover.ts";
import { identityMethods } from "./identity.ts";
import type { Method } from "./method.ts";
import { spaceMethods } from "./space.ts";

/** Every method of the user RPC: the registry from which client, documents and tests follow. */
export const userApi = {
  ...identityMethods,
  ...spaceMethods,
  ...agentMethods,
  ...apiKeyMethods,
  ...discoverMethods,
};

/** A set of methods that one door serves. */
export type Api = Readonly<Record<string, Method>>;
export type UserApi = typeof userApi;

/** What a caller may send to method `M` of `A`. */
export type ParamsOf<A extends Api, M extends keyof A> = z.input<A[M]["params"]>;
/** What the handler of method `M` gets: parsed, with defaults filled in. */
export type InputOf<A extends Api, M extends keyof A> = Declared<z.output<A[M]["params"]>>;
/** What method `M` answers. */
export type ResultOf<A extends Api, M extends keyof A> = z.output<A[M]["result"]>;

/** The members that are declared one by one: zod types an object without any as an index of `never`, on which every name would compile. */
type Declared<T> = { [K in keyof T as string extends K ? never : K]: T[K] };
