-- A task hangs, like a token, on the rule of the configuration (TRUSTED_ISSUERS) by which its registrant came in. No row can tell
-- when that ends: whoever reads tasks says which rules stand.
alter table tasks add column rule text;
drop view live_tasks;
create function live_tasks(rules text[]) returns setof tasks language sql stable as $$
  select * from tasks where (expires_at is null or expires_at > now()) and (rule is null or rule = any(rules))
$$;

-- Those of tokens that were minted by such a rule. Of those that hang on a time alone nobody knows whether on a rule, and on
-- which: they end, and their workers register them again.
update tasks t set rule = k.rule from tokens k where k.id = t.token_id and k.rule is not null;
delete from tasks t where t.key_id is null and t.token_id is null and t.expires_at is not null
  and not exists (select from task_ties i where i.task_id = t.id);

-- As in 0014, with the rule.
drop function register_task(uuid, text, text, integer, uuid, uuid, uuid, uuid[], timestamptz, integer, integer);
create function register_task(space uuid, named text, told text, idle integer, by uuid, key uuid, token uuid, ties uuid[], by_rule text, ends timestamptz,
  most integer, most_of_key integer, out task uuid, out problem text) language plpgsql as $$
declare lasts boolean := key is null and token is null and ends is null and cardinality(ties) = 0;
begin
  if not exists (
    select from tasks t where t.space_id = space and t.path = named and (t.expires_at is null or t.expires_at > now())) then
    perform pg_advisory_xact_lock(7070004, hashtext(space::text));
    delete from tasks t where t.space_id = space and t.expires_at <= now();
    if (select count(*) from tasks t where t.space_id = space and t.path <> named) >= most then problem := 'space'; return; end if;
    if (select count(*) from tasks t where t.key_id = key and t.path <> named) >= most_of_key then problem := 'key'; return; end if;
  end if;
  insert into tasks (id, space_id, path, description, idle_timeout_seconds, registered_by, key_id, token_id, rule, expires_at)
    values (new_id(), space, named, told, idle, by, key, token, by_rule, ends)
    on conflict on constraint task_path do update set description = excluded.description, idle_timeout_seconds = excluded.idle_timeout_seconds,
      registered_by = excluded.registered_by, key_id = excluded.key_id, token_id = excluded.token_id, rule = excluded.rule,
      expires_at = excluded.expires_at, seen_at = now()
      where lasts or tasks.key_id is not null or tasks.token_id is not null or tasks.expires_at is not null
        or exists (select from task_ties i where i.task_id = tasks.id)
    returning id into task;
  if not found then
    update tasks t set seen_at = now() where t.space_id = space and t.path = named returning t.id into task;
    return;
  end if;
  delete from task_ties i where i.task_id = task;
  insert into task_ties (task_id, key_id) select task, unnest(ties);
end $$;
