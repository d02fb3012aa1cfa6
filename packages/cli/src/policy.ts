import { type Caller, callers, policyTable } from "@gatehouse/server/policy";
import { type Command, Option } from "commander";
import { addCommand } from "./command.ts";
import { table } from "./output.ts";

export function addPolicy(program: Command): void {
  addCommand(program, {
    usage: "policy",
    summary: "Show who may call what: every method, one row each.",
    examples: ["policy", "policy --as agent"],
    options: (command) =>
      command.addOption(new Option("--as <caller>", "only what this kind of caller may call").choices(Object.keys(callers))),
    run: async (_me, { as }: { as?: Caller }) => ({ methods: policyTable().filter(({ admits }) => as === undefined || admits[as]) }),
    show: ({ methods }) =>
      table(
        ["Door", "Method", "Who", "Needs", ...Object.keys(callers)],
        methods.map(({ door, method, who, needs, admits }) => [
          door,
          method,
          who,
          needs ?? "",
          ...Object.values(admits).map((yes) => (yes ? "yes" : "-")),
        ]),
        "Nothing.",
      ),
  });
}
