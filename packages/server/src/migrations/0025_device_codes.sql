-- A device code hangs on the session that allowed it, as an authorization code does: signing out ends what was not yet taken.
alter table auth."deviceCode" add column session_id uuid references auth.session (id) on delete cascade;
create index on auth."deviceCode" (session_id);
