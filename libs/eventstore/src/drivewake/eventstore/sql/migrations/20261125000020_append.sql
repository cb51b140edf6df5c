-- migrate:up

-- Keys rise with time, so most of a batch are above every key there is: one look at the highest
-- saves looking for each of them.

-- Lock the lane. If `lowest`, the lowest key of a batch, is above every key, take positions for
-- all `wanted` events, from base + 1; else tell the highest key. Separate statements, because
-- the look needs a snapshot that was taken after the lock.
create function eventstore.append_lock(
  p_lane smallint, lowest uuid, wanted integer, out base bigint, out high uuid
)
language plpgsql security definer
set search_path = eventstore, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan as $$
begin
  perform from lane where id = p_lane for update;
  if not found then
    insert into lane (id) values (p_lane) on conflict do nothing;
    perform from lane where id = p_lane for update;
  end if;
  select e.key into high from event e order by e.key desc limit 1;
  if high is null or lowest > high then
    update lane set head = head + wanted where id = p_lane returning head - wanted into base;
  end if;
end
$$;

-- Lock the lane, tell which keys are stored already, and take positions for the others and for
-- `more` events that are known to be new, from base + 1.
create function eventstore.append_take(
  p_lane smallint, keys uuid[], more integer, out base bigint, out dup uuid[]
)
language plpgsql security definer
set search_path = eventstore, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan as $$
declare
  fresh integer;
begin
  perform from lane where id = p_lane for update;
  if not found then
    insert into lane (id) values (p_lane) on conflict do nothing;
    perform from lane where id = p_lane for update;
  end if;
  select array_agg(k) into dup from unnest(keys) k
    where exists (select from event e where e.key = k);
  fresh := cardinality(keys) - coalesce(cardinality(dup), 0) + more;
  update lane set head = head + fresh where id = p_lane returning head - fresh into base;
end
$$;

revoke all on function eventstore.append_lock, eventstore.append_take from public;
grant execute on function eventstore.append_lock, eventstore.append_take to drivewake_writer;

-- migrate:down
