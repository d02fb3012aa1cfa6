import type { FastifyRequest } from "fastify";
import type { House } from "../../house.ts";
import { handOver, signedIn } from "../hand-over.ts";

/** A person, as a page shows them. */
export interface Person {
  id: string;
  name: string;
  email: string;
}

/** Who is signed in. A page is for their eyes: no other origin can read or frame it, so the cookie of a navigation is enough. */
export async function personOf(house: House, request: FastifyRequest): Promise<Person | undefined> {
  if (request.headers.cookie === undefined) return undefined;
  return (await signedIn(house, request, "GET"))?.user;
}

/** Asks better-auth as the visitor. @returns undefined where it refuses */
export async function ask<T>(house: House, request: FastifyRequest, path: string, query = new URLSearchParams()): Promise<T | undefined> {
  const answered = await handOver(house, request, { method: "GET", path, query, signedIn: true });
  return answered.ok ? ((await answered.json()) as T) : undefined;
}
