import type { z } from "zod";

/** Most issues that are told of one call, and characters of each. */
const MAX_ISSUES = 20;
const MAX_LENGTH = 200;

/** The same schema, which tells few issues, and each in short: the SDK repeats all that it is told in its answer. */
export function brief<S extends z.ZodType>(schema: S): S {
  const standard = schema["~standard"];
  const validate: typeof standard.validate = async (value) => {
    const checked = await standard.validate(value);
    return checked.issues
      ? {
          issues: checked.issues.slice(0, MAX_ISSUES).map((issue) => ({
            ...issue,
            message: clipped(issue.message),
            path: issue.path?.map((part) => (typeof part === "string" ? clipped(part) : part)),
          })),
        }
      : checked;
  };
  return Object.create(schema, { "~standard": { value: { ...standard, validate } } }) as S;
}

const clipped = (text: string): string => (text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text);
