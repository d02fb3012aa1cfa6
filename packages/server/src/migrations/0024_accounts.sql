-- Whose account a principal that belongs to nobody in person counts as, where things are shared out: of a space's service, and of an
-- agent that a group owns, the maker of the space; null for everybody else.
create function account_of(who uuid) returns uuid language sql stable as $$
  select coalesce(s.created_by, s.id)
  from principals p
  left join principals o on o.id = p.owner_id
  join spaces s on s.id = case when p.kind = 's' then p.space_id when o.kind = 'g' then o.space_id end
  where p.id = who
$$;
