-- Living tokens of one principal are limited, as in 0015. Nothing is locked: tokens are made often, and a crowd that gets
-- a few past the limit does no harm.
create index on tokens (principal_id, expires_at);
drop index tokens_principal_id_idx;
create function keep_limit_of_tokens() returns trigger language plpgsql as $$
declare most integer; there integer;
begin
  select l.most into most from limits l where l.name = 'tokens';
  if most is null then return null; end if;
  select count(*) into there from (
    select from tokens t where t.principal_id = new.principal_id and t.expires_at > now() limit most + 1) counted;
  if there > most then
    raise exception 'more than % tokens', most using errcode = 'integrity_constraint_violation', constraint = 'limit_tokens';
  end if;
  return null;
end $$;
create trigger keep_limit after insert on tokens for each row execute function keep_limit_of_tokens();
