import type { FastifyRequest } from "fastify";
import type { House } from "../../house.ts";
import type { Html } from "./html.ts";
import type { Person } from "./visitor.ts";

/** Somebody who opens a page. */
interface Visit {
  house: House;
  request: FastifyRequest;
  /** The query of the address, with its question mark; empty when there is none. */
  search: string;
  query: URLSearchParams;
  /** Who is signed in, by cookie. */
  person: Person | undefined;
  /** The page of ours they were on the way to. */
  next: string | undefined;
  /** The query with which a page beside this one is opened for the same, with its question mark. */
  onward: string;
}

/** What a page shows. */
export interface View {
  title: string;
  body: Html;
  /** The notice that the address asks for: shown only if a page of ours did it, in the same tab. */
  notice?: string | undefined;
  /** What went wrong just before, and what to do. */
  problem?: string | undefined;
  /** Its script, a file of `browser/`, where it needs one of its own. */
  script?: string;
}

/** Makes what a page shows; a string is another address to go to instead. */
export type Page = (visit: Visit) => View | string | Promise<View | string>;
