-- A gate for each principal, so that floods put off nobody's removal. Whoever changes something as them, or gives them something,
-- passes it together with others; whoever takes them away needs it alone, and from when they ask for it nobody new gets in before
-- them. (A row's shared lock is given to all who come, past whoever waits to have the row alone.)
create function gate(who uuid) returns bigint language sql immutable as $$ select hashtextextended(who::text, 0) $$;

create function pass_gates(who uuid[]) returns void language plpgsql as $$
declare one uuid;
begin
  for one in select distinct w from unnest(who) w where w is not null order by w loop
    perform pg_advisory_xact_lock_shared(gate(one));
  end loop;
end $$;

-- Holds those who call, for a change. An agent passes its owner's gate before it is held, as it goes with its owner: whoever takes
-- the owner away then waits for none of the owner's agents.
create function hold_callers(who uuid[]) returns void language plpgsql as $$
declare people uuid[] := array(select p.id from principals p where p.id = any(who) and p.kind <> 'a');
begin
  perform from principals where id = any(people) order by id for no key update;
  perform pass_gates(people || array(select p.owner_id from principals p where p.id = any(who) and p.kind = 'a'));
  perform from principals where id = any(who) and kind = 'a' order by id for no key update;
  perform pass_gates(who);
end $$;

-- Holds somebody who is given something.
create function hold_named(who uuid) returns void language plpgsql as $$
begin
  perform pass_gates(array(select p.owner_id from principals p where p.id = who) || who);
  perform from principals where id = who for key share;
end $$;

-- Holds somebody who is taken away, or changes hands, alone.
create function hold_alone(who uuid) returns void language plpgsql as $$
begin
  perform from principals where id = who for no key update;
  perform pg_advisory_xact_lock(gate(who));
  perform from principals where id = who for update;
end $$;
