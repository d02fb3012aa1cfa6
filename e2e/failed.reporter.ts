import type { Reporter, TestModule } from "vitest/node";

const MAX_CHARS = 400;

interface Failure {
  message: string;
}

/** Says at the very end, a line each, what failed: what a failure says of itself may be longer than what a CI shows. */
export default class FailedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      say(module.relativeModuleId, module.errors());
      for (const suite of module.children.allSuites()) say(`${module.relativeModuleId} > ${suite.fullName}`, suite.errors());
      for (const test of module.children.allTests("failed"))
        say(`${module.relativeModuleId} > ${test.fullName}`, test.result().errors ?? []);
    }
  }
}

function say(where: string, failures: readonly Failure[]): void {
  for (const { message } of failures) console.error(`failed: ${where}: ${message.replaceAll(/\s+/g, " ").slice(0, MAX_CHARS)}`);
}
