import { z } from "zod";
import { method } from "./method.ts";

export const discoverMethods = {
  "rpc.discover": method({
    summary: "Describes the methods that you may call, as an OpenRPC 1.4 document.",
    effect: "read",
    cost: 10,
    params: z.strictObject({}),
    result: z.looseObject({ openrpc: z.string(), methods: z.array(z.looseObject({ name: z.string() })) }),
    errors: [],
  }),
};
