import type { SpaceApi, UserApi } from "@gatehouse/protocol";
import { awaiting, inGroups, making, sparingAdmins } from "./bounds.ts";
import {
  admin,
  adminOver,
  agentOfMine,
  allOf,
  anyOf,
  inPerson,
  ofLimited,
  ownAgent,
  ownKey,
  read,
  self,
  selfOrOwnAgent,
  spaceAdmin,
  withinLayers,
  withinOwnLimits,
  write,
} from "./needs.ts";
import { anyone, anyoneOrBrowser, interactive, members, membersOrBrowser, type Policy, users } from "./rules.ts";
import { readRun, readSession, serveRun, writeSession, writeTaskOf } from "./sessions/rows.ts";

/**
 * Who may do what: the whole of it. `who` is decided before the params are read, `needs` after.
 * A method without a row does not compile, and one that the server can't find here is refused to everyone.
 */
// biome-ignore format: a table reads in columns
export const userPolicy: Policy<UserApi> = {
  // method                who           needs
  whoami:                  [anyoneOrBrowser],
  "rpc.discover":          [anyone],

  "space.list":            [anyone],
  "space.create":          [users],
  "space.rename":          [users,       spaceAdmin((i) => i.slug)],
  "space.delete":          [interactive, spaceAdmin((i) => i.slug)],

  "agent.create":          [users],
  "agent.list":            [users],
  "agent.get":             [users,       ownAgent((i) => i.id)],
  "agent.spaces":          [users,       ownAgent((i) => i.id)],
  "agent.rename":          [users,       ownAgent((i) => i.id)],
  "agent.delete":          [interactive, ownAgent((i) => i.id)],
  "agent.transfer":        [interactive, ownAgent((i) => i.id)],
  "agent.offers":          [users],
  "agent.accept":          [interactive],
  "agent.decline":         [interactive],

  "apiKey.list":           [users,       selfOrOwnAgent((i) => i.agent)],
  "apiKey.get":            [users,       ownKey((i) => i.id)],
  "apiKey.create":         [interactive, selfOrOwnAgent((i) => i.agent)],
  "apiKey.rotate":         [interactive, ownKey((i) => i.id)],
  "apiKey.delete":         [interactive, ownKey((i) => i.id)],

  "token.create":          [anyone,      withinLayers((i) => i)],
  "token.inspect":         [anyone],
  "token.revoke":          [anyone],

  "invite.pending":        [users],
  "invite.accept":         [interactive],
  "invite.decline":        [interactive],
};

/** The same for what is called inside a space, where whoever is not on the roster is refused before all else. */
// biome-ignore format: a table reads in columns
export const spacePolicy: Policy<SpaceApi> = {
  // method                who           needs
  "rpc.discover":          [members],

  "space.get":             [members],
  "space.members":         [members,     ofLimited(read("members"))],
  "space.leave":           [interactive],

  "principal.list":        [members,     anyOf(read("members"))],
  "principal.add":         [members,     making(anyOf(write("members"), agentOfMine((i) => i.principal)), awaiting((i) => i.principal))],
  "principal.setAdmin":    [interactive, making(anyOf(admin()))],
  "principal.remove":      [members,     sparingAdmins(anyOf(write("members"), agentOfMine((i) => i.principal)), (i) => i.principal)],
  "principal.resolve":     [members,     ofLimited(read("members"))],
  "principal.lookup":      [members,     ofLimited(read("members"))],

  "group.create":          [members,     anyOf(write("groups"))],
  "group.list":            [members,     ofLimited(read("groups"))],
  "group.rename":          [members,     anyOf(admin("groups", (i) => i.group))],
  "group.delete":          [members,     anyOf(admin("groups", (i) => i.group))],
  "group.addMember":       [members,     making(anyOf(admin("groups", (i) => i.group)), inGroups((i) => [i.group]))],
  "group.removeMember":    [members,     anyOf(admin("groups", (i) => i.group), inPerson(self((i) => i.member)))],
  "group.setMemberAdmin":  [interactive, making(anyOf(admin("groups", (i) => i.group)), inGroups((i) => [i.group]))],
  "group.listMembers":     [members,     anyOf(read("groups", (i) => i.group))],
  "group.listForMember":   [members,     withinOwnLimits(read("groups"), anyOf(read("groups"), self((i) => i.member), agentOfMine((i) => i.member)))],

  "access.grant":          [members,     making(anyOf(adminOver((i) => i.permission)))],
  "access.revoke":         [members,     anyOf(adminOver((i) => i.permission))],
  "access.list":           [members,     anyOf(read("grants"))],
  "access.effective":      [members,     anyOf(read("grants"), self((i) => i.principal), agentOfMine((i) => i.principal))],
  "access.check":          [members,     anyOf(read("grants"), self((i) => i.principal), agentOfMine((i) => i.principal))],
  "access.explain":        [members,     anyOf(read("grants"), self((i) => i.principal), agentOfMine((i) => i.principal))],

  "invite.create":         [members,     making(anyOf(write("members")), inGroups((i) => i.groups))],
  "invite.list":           [members,     anyOf(read("members"))],
  "invite.revoke":         [members,     anyOf(write("members"))],

  "secretKey.create":      [interactive, making(anyOf(admin()))],
  "secretKey.list":        [interactive, anyOf(admin())],
  "secretKey.rotate":      [interactive, making(anyOf(admin()))],
  "secretKey.revoke":      [interactive, making(anyOf(admin()))],

  "task.list":             [members],
  "task.get":              [members,     anyOf(read("tasks", (i) => i.task))],
  "task.register":         [members,     anyOf(admin("tasks", (i) => i.task))],
  "task.delete":           [members,     anyOf(admin("tasks", (i) => i.task))],

  "session.create":        [members,     anyOf(write("tasks", (i) => i.task), write("sessions"))],
  "session.get":           [membersOrBrowser, readSession((i) => i.session)],
  "session.list":          [members],
  "session.update":        [members,     writeSession((i) => i.session)],
  "session.send":          [membersOrBrowser, writeSession((i) => i.session)],
  "session.stop":          [membersOrBrowser, writeSession((i) => i.session)],
  "session.close":         [members,     writeSession((i) => i.session)],
  "session.delete":        [members,     writeTaskOf((i) => i.session)],
  "session.events":        [membersOrBrowser, readSession((i) => i.session)],

  "run.get":               [members,     readRun((i) => i.run)],
  "run.list":              [members,     readSession((i) => i.session)],
  "run.lease":             [members,     allOf(admin("tasks", (task) => task), (i) => i.tasks)],
  "run.next":              [members,     serveRun((i) => i.run)],
  "run.emit":              [members,     serveRun((i) => i.run)],
  "run.endTurn":           [members,     serveRun((i) => i.run)],
  "run.end":               [members,     serveRun((i) => i.run)],
  "run.heartbeat":         [members,     serveRun((i) => i.run)],

  "audit.list":            [members,     anyOf(read("audit"))],
};
