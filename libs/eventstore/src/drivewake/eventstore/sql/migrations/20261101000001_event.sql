-- migrate:up

-- The log of events: one lane row that is lock, position allocator and head, and one table
-- partitioned by month on a time-ordered key that is at once dedupe key, id and time index.

create schema if not exists eventstore;

comment on schema eventstore is 'Events, what was last known of each thing, and readers'' places.';

create table eventstore.lane (
  id smallint primary key,
  head bigint not null default 0
) with (fillfactor = 10);

comment on table eventstore.lane is
  'Locking a row is the right to append to the lane; head is the position of its newest event.';

insert into eventstore.lane (id) values (0);

create table eventstore.event (
  position bigint not null,
  occurred_at timestamptz not null,
  key uuid not null,
  tenant text not null,
  connection text not null,
  lane smallint not null,
  type text not null,
  stream text not null,
  data json not null,
  metadata json not null,
  primary key (key)
) partition by range (key);

comment on column eventstore.event.position is 'Dense within a lane: 1 to lane.head.';
comment on column eventstore.event.key is
  'UUIDv8: 48 bits of the identity time in ms, 74 bits of a keyed hash of the identity.';
comment on column eventstore.event.metadata is
  'CloudEvents attributes that have no column of their own.';

create index event_log on eventstore.event (lane, position);

create table eventstore.event_rest partition of eventstore.event default;

comment on table eventstore.event_rest is
  'Events of months that have no partition: alarm when it is not empty.';

-- Nobody changes history, not even the owner by mistake.
create function eventstore.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'events are never changed or deleted' using errcode = 'insufficient_privilege';
end
$$;

create trigger event_is_final before update or delete on eventstore.event
for each row execute function eventstore.refuse_change();

create trigger event_is_final_truncate before truncate on eventstore.event
for each statement execute function eventstore.refuse_change();

create trigger event_is_final_truncate before truncate on eventstore.event_rest
for each statement execute function eventstore.refuse_change();

-- The smallest key of an instant: keys of [t1, t2) lie between two of these.
create function eventstore.key_at(instant timestamptz) returns uuid
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp as $$
  select (lpad(to_hex((extract(epoch from instant) * 1000)::bigint), 12, '0')
    || repeat('0', 20))::uuid
$$;

-- Make the partition of the month that holds an instant. Returns whether it is there; without
-- it, events of that month go to event_rest. Refuses months far ahead (a broken clock), above 60
-- partitions (planning and empty polls become slow), when event_rest holds keys of that month,
-- or when a lock takes long.
create function eventstore.ensure_month(instant timestamptz) returns boolean
language plpgsql security definer
set search_path = eventstore, pg_temp
set timezone = 'UTC'
set lock_timeout = '2s' as $$
declare
  month timestamptz := date_trunc('month', instant);
  partition text := 'event_' || to_char(month, 'YYYYMM');
begin
  if exists (select from pg_tables where schemaname = 'eventstore' and tablename = partition) then
    return true;
  end if;
  if month > now() + interval '3 months' then
    return false;
  end if;
  perform pg_advisory_xact_lock(x'4457'::int, 0);  -- one maker at a time
  -- A query, because a look-up by name may answer from a cache that is older than the lock.
  if exists (select from pg_tables where schemaname = 'eventstore' and tablename = partition) then
    return true;
  end if;
  if (select count(*) from pg_inherits where inhparent = 'event'::regclass) > 60 then
    return false;
  end if;
  -- Made beside and then attached: that blocks no reader and no writer of other partitions.
  execute format('create table %I (like event including all)', partition);
  execute format(
    'alter table event attach partition %I for values from (%L) to (%L)',
    partition, key_at(month), key_at(month + interval '1 month')
  );
  execute format(
    'create trigger event_is_final_truncate before truncate on %I '
    'for each statement execute function refuse_change()', partition
  );
  return true;
exception
  when lock_not_available or check_violation then
    return false;
end
$$;

-- Begin an append: lock the lane, tell which keys are stored already, and take positions for
-- the others, from base + 1. Two statements, because finding the keys needs a snapshot that
-- was taken after the lock. The planner is told what it cannot know about an array's length.
create function eventstore.append_begin(
  p_lane smallint, keys uuid[], out base bigint, out dup uuid[]
)
language plpgsql security definer
set search_path = eventstore, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan as $$
begin
  perform from lane where id = p_lane for update;
  if not found then
    insert into lane (id) values (p_lane) on conflict do nothing;
    perform from lane where id = p_lane for update;
  end if;
  select array_agg(k) into dup from unnest(keys) k
    where exists (select from event e where e.key = k);
  update lane set head = head + cardinality(keys) - coalesce(cardinality(dup), 0)
    where id = p_lane
    returning head - cardinality(keys) + coalesce(cardinality(dup), 0) into base;
end
$$;

-- migrate:down
