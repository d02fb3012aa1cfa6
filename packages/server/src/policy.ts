import type { UserApi } from "@gatehouse/protocol";
import { anyone, interactive, ownAgent, ownKey, type Policy, selfOrOwnAgent, spaceAdmin, users } from "./rules.ts";

/**
 * Who may do what: the whole of it. `who` is decided before the params are read, `needs` after.
 * A method without a row does not compile, and one that the server can't find here is refused to everyone.
 */
// biome-ignore format: a table reads in columns
export const userPolicy: Policy<UserApi> = {
  // method             who           needs
  whoami:               [anyone],
  "rpc.discover":       [anyone],

  "space.list":         [anyone],
  "space.create":       [users],
  "space.rename":       [users,       spaceAdmin((i) => i.slug)],
  "space.delete":       [users,       spaceAdmin((i) => i.slug)],

  "agent.create":       [users],
  "agent.list":         [users],
  "agent.get":          [users,       ownAgent((i) => i.id)],
  "agent.spaces":       [users,       ownAgent((i) => i.id)],
  "agent.rename":       [users,       ownAgent((i) => i.id)],
  "agent.delete":       [users,       ownAgent((i) => i.id)],

  "apiKey.list":        [users,       selfOrOwnAgent((i) => i.agent)],
  "apiKey.get":         [users,       ownKey((i) => i.id)],
  "apiKey.create":      [interactive, selfOrOwnAgent((i) => i.agent)],
  "apiKey.rotate":      [interactive, ownKey((i) => i.id)],
  "apiKey.delete":      [interactive, ownKey((i) => i.id)],
};
