-- The token of one session, for a browser: a kind of its own, which goes with its session.
alter table tokens add column only_session_id uuid references sessions (id) on delete cascade;
create index on tokens (only_session_id) where only_session_id is not null;
