-- Who is invited is asked for by address alone.
create index on invites (email, id) where email is not null;
