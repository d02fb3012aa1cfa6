#!/usr/bin/env -S bun --no-env-file --config=/dev/null --tsconfig-override=/dev/null
import { keepCacheOut } from "./runtime.ts";

// Before anything else: what is imported is compiled, and Bun writes that into its cache.
keepCacheOut();
await import("./program.ts");
