import { z } from "zod";

/**
 * The JSON Schema of a contract, as every published document has it. Its patterns use only what JSON Schema 2020-12 §6.4
 * recommends, so that each compiles, and means the same, in the dialects of JavaScript, Python, Go and Rust.
 */
export const toJsonSchema = (
  schema: z.core.$ZodType,
  options: { io: "input" | "output"; target?: "draft-7" | "draft-2020-12" },
): z.core.JSONSchema.BaseSchema =>
  z.toJSONSchema(schema, {
    ...options,
    override({ jsonSchema }) {
      if (jsonSchema.pattern !== undefined) jsonSchema.pattern = portable(jsonSchema.pattern);
    },
  });

/** Rewrites what zod's own formats use besides: groups that capture nothing, classes and characters behind a backslash. */
const portable = (pattern: string): string =>
  pattern.replaceAll("(?:", "(").replaceAll("\\d", "[0-9]").replaceAll("\\.", "[.]").replaceAll("\\-]", "-]");
