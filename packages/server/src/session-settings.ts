/**
 * What our statements rely on, whatever the database or the role has been set to. Not among them: `search_path`, which says in
 * which schema an operator keeps our tables, and `synchronous_commit`, which says how durable they want a commit.
 */
const SETTINGS = {
  bytea_output: "hex",
  extra_float_digits: "1",
  intervalstyle: "postgres",
  array_nulls: "on",
  transform_null_equals: "off",
  default_transaction_isolation: "read committed",
  default_transaction_read_only: "off",
  default_transaction_deferrable: "off",
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  idle_session_timeout: "0",
  transaction_timeout: "0",
  exit_on_error: "off",
  // A statement whose server has hung up is given up: else it would hold its connection for as long as it takes.
  client_connection_check_interval: "1s",
};

/** The statement that applies them, as far as this version of Postgres has them. @param local for one transaction alone */
export const applySettings = (local: boolean) =>
  `select set_config(name, value, ${local}) from (values ${Object.entries(SETTINGS)
    .map(([name, value]) => `('${name}', '${value}')`)
    .join(", ")}) as wanted (name, value) where current_setting(name, true) is not null`;

/** The settings that PgBouncer takes when a client connects, and applies wherever it lends it a connection. It refuses all others. */
export const STARTUP = { client_encoding: "UTF8", DateStyle: "ISO", TimeZone: "UTC", standard_conforming_strings: "on" };

/** Begins a transaction. What it says, no default of a role can change. */
export const BEGIN = "begin isolation level read committed read write";
