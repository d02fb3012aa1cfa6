import { z } from "zod";
import { PrincipalRef } from "./identity.ts";
import { Id, method, Next, page, Timestamp } from "./method.ts";
import { Name } from "./name.ts";

/** The immutable name of a space on the wire: 12 lower-case letters and digits. */
export const Slug = z
  .string()
  .regex(/^[a-z0-9]{12}$/, "must be the 12-character slug of a space")
  .describe("The slug of a space");

export const Space = z.strictObject({
  id: Id,
  slug: Slug,
  name: z.string(),
  admin: z.boolean().describe("whether the member it is listed for administers it"),
  createdAt: Timestamp,
});
export type Space = z.infer<typeof Space>;

export const spaceMethods = {
  "space.list": method({
    summary: "Lists the spaces whose roster holds you, oldest first.",
    effect: "read",
    tool: "list_spaces",
    params: z.strictObject(page),
    result: z.strictObject({ spaces: z.array(Space), next: Next }),
    errors: [],
  }),
  "space.create": method({
    summary: "Makes a space, with you as its first admin.",
    effect: "write",
    params: z.strictObject({ name: Name }),
    result: Space,
    errors: ["LIMIT_REACHED"],
  }),
  "space.rename": method({
    summary: "Changes the display name of a space. Its slug never changes.",
    effect: "write",
    params: z.strictObject({ slug: Slug, name: Name }),
    result: Space,
    errors: ["NOT_FOUND"],
  }),
  "space.delete": method({
    summary: "Deletes a space and all that is in it. Asks for the slug twice.",
    effect: "write",
    takesBack: true,
    params: z
      .strictObject({ slug: Slug, confirm: Slug.describe("the same slug once more") })
      .refine(({ slug, confirm }) => slug === confirm, { path: ["confirm"], message: "must repeat the slug of the space" }),
    result: z.strictObject({ slug: Slug }),
    errors: ["NOT_FOUND"],
  }),
};

export const insideSpaceMethods = {
  "space.get": method({
    summary: "Shows the space.",
    effect: "read",
    tool: "show_space",
    params: z.strictObject({}),
    result: Space,
    errors: [],
  }),
  "space.members": method({
    summary: "Lists who is in the space: id, kind and name.",
    effect: "read",
    tool: "list_members",
    params: z.strictObject(page),
    result: z.strictObject({ members: z.array(PrincipalRef), next: Next }),
    errors: [],
  }),
  "space.leave": method({
    summary: "Takes you off the roster, and all you were given in the space with it.",
    effect: "write",
    takesBack: true,
    params: z.strictObject({}),
    result: z.strictObject({ slug: Slug }),
    errors: ["LAST_ADMIN"],
  }),
};
