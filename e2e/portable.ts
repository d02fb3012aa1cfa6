/** One step of a pattern: a class, a quantifier, an anchor, a group's edge, an alternative, or a character that stands for itself. */
const STEP = /\[\^?(?:[^\][\\^&~-]-[^\][\\^&~-]|[^\][\\^])+\]|[+*?]|\{\d+(?:,\d*)?\}|[\^$()|]|[^\\.[\]{}]/uy;
const QUANTIFIER = /^(?:[+*?]|\{)/;
/** Set operations of Rust's and of JavaScript's "v" dialect, inside a class. */
const SET_OPERATION = /^\[.*(?:--|&&|~~)/;

/**
 * What in a pattern is more than JSON Schema 2020-12 §6.4 recommends: characters, classes of characters and ranges,
 * quantifiers, ^ and $, groups and alternatives. There are no escapes, no named or special groups, no lookaround.
 * @returns the rest of the pattern from there on; undefined where there is nothing of the kind
 */
export function unportable(pattern: string): string | undefined {
  let before = "(";
  let depth = 0;
  for (let place = 0; place < pattern.length; ) {
    STEP.lastIndex = place;
    const step = STEP.exec(pattern)?.[0];
    const rest = pattern.slice(place);
    if (step === undefined || SET_OPERATION.test(step)) return rest;
    depth += step === "(" ? 1 : step === ")" ? -1 : 0;
    // A quantifier needs something to repeat; behind another, a ? makes it lazy, and all else is possessive.
    if (QUANTIFIER.test(step) && (/^[(|^]$/.test(before) || (QUANTIFIER.test(before) && (step !== "?" || before === "lazy")))) return rest;
    if (depth < 0) return rest;
    before = QUANTIFIER.test(step) && QUANTIFIER.test(before) ? "lazy" : step;
    place += step.length;
  }
  return depth === 0 ? undefined : pattern;
}
