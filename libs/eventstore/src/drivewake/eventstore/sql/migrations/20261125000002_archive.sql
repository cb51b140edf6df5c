-- migrate:up

-- Keeping the store over years: months that go to an archive, and positions that are not given
-- again after the database was restored to an older day.

do $$
begin
  if not exists (select from pg_roles where rolname = 'drivewake_keeper') then
    begin
      create role drivewake_keeper nologin;
    exception when duplicate_object or unique_violation then
      null;  -- made by another database in this very moment
    end;
  end if;
end
$$;

create table eventstore.archived_month (
  month date not null,
  number smallint not null,
  state text not null check (state in ('detached', 'dropped')),
  manifest text not null,
  detached_at timestamptz not null default clock_timestamp(),
  dropped_at timestamptz,
  primary key (month, number)
);

comment on table eventstore.archived_month is
  'Months that were archived, word for word the manifest in the archive. Number: facts of an '
  'archived month that come late fill its partition anew.';

create table eventstore.restart (
  lane smallint not null,
  after_position bigint not null,
  next_position bigint not null check (next_position > after_position + 1),
  relayed bigint not null,
  at timestamptz not null default clock_timestamp(),
  primary key (lane, after_position)
);

comment on table eventstore.restart is
  'Positions between the two were given before the database was restored to an older day, and '
  'are never given again. Downstream has the events up to relayed as the store has them.';

-- How many positions of (after, upto] were never given, or are not given again.
create function eventstore.unused_positions(p_lane smallint, p_after bigint, p_upto bigint)
returns bigint
language sql stable
set search_path = eventstore, pg_temp as $$
  select coalesce(sum(greatest(
    least(r.next_position - 1, p_upto) - greatest(r.after_position, p_after), 0
  )), 0)::bigint
  from restart r where r.lane = p_lane
$$;

-- Go on behind p_upto: what lies between was given away and lost.
create function eventstore.skip_positions(p_lane smallint, p_upto bigint, p_relayed bigint)
returns bigint
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
declare
  last bigint;
begin
  select head into last from lane where id = p_lane for update;
  if not found then
    insert into lane (id) values (p_lane);
    last := 0;
  end if;
  if p_upto <= last or p_relayed > last then
    raise exception 'lane % ends at %', p_lane, last using errcode = 'check_violation';
  end if;
  insert into restart (lane, after_position, next_position, relayed)
    values (p_lane, last, p_upto + 1, p_relayed);
  update lane set head = p_upto where id = p_lane;
  return last;
end
$$;

-- Take an archived month out of the table, if it still holds what the manifest says: so many
-- events, up to these positions. `lanes`, `events` and `lasts` belong together. The youngest four
-- months stay: what is older is not replayed by anybody, and its keys need not be remembered.
create function eventstore.detach_month(
  p_month date, p_manifest text, lanes smallint[], events bigint[], lasts bigint[]
) returns smallint
language plpgsql security definer
set search_path = eventstore, pg_temp
set timezone = 'UTC'
set lock_timeout = '2s' as $$
declare
  partition text := 'event_' || to_char(p_month, 'YYYYMM');
  generation smallint;
begin
  if p_month <> date_trunc('month', p_month) or p_month + interval '5 months' > now() then
    raise exception '% is no month that may go yet', p_month using errcode = 'check_violation';
  end if;
  if not exists (
    select from pg_inherits where inhparent = 'event'::regclass
      and inhrelid = to_regclass(format('eventstore.%I', partition))
  ) then
    raise exception 'no partition %', partition using errcode = 'undefined_table';
  end if;
  if exists (
    select from checkpoint c join unnest(lanes, lasts) as w (lane, last) on c.lane = w.lane
    where c.name = 'relay' and c.position < w.last
  ) then
    raise exception 'the relay has not published all of %', partition
      using errcode = 'object_in_use';
  end if;
  execute format('lock table %I in exclusive mode', partition);
  if exists (
    with wanted as (select * from unnest(lanes, events, lasts) as w (lane, events, last))
    select from wanted w full join event_counts(partition) f using (lane)
    where w.events is distinct from f.events or w.last is distinct from f.last
  ) then
    raise exception '% has changed since it was archived', partition
      using errcode = 'serialization_failure';
  end if;
  select coalesce(max(number), 0) + 1 into generation from archived_month where month = p_month;
  execute format('alter table event detach partition %I', partition);
  execute format('alter table %I rename to %I', partition, archived_table(p_month, generation));
  execute format(
    'grant select on %I to drivewake_keeper', archived_table(p_month, generation)
  );
  insert into archived_month (month, number, state, manifest)
    values (p_month, generation, 'detached', p_manifest);
  return generation;
end
$$;

-- What a partition holds of each lane.
create function eventstore.event_counts(
  partition text, out lane smallint, out events bigint, out last bigint
) returns setof record
language plpgsql
set search_path = eventstore, pg_temp as $$
begin
  return query execute format(
    'select lane, count(*), max(position) from %I group by lane', partition
  );
end
$$;

-- The name of a month that was taken out of the table.
create function eventstore.archived_table(p_month date, p_number smallint) returns text
language sql immutable
set search_path = pg_catalog, pg_temp as $$
  select 'archived_' || to_char(p_month, 'YYYYMM') || '_' || p_number
$$;

-- Delete a month that was archived and taken out of the table.
create function eventstore.drop_month(p_month date, p_number smallint) returns void
language plpgsql security definer
set search_path = eventstore, pg_temp
set lock_timeout = '2s' as $$
begin
  update archived_month set state = 'dropped', dropped_at = clock_timestamp()
    where month = p_month and number = p_number and state = 'detached';
  if not found then
    raise exception 'month % was not detached', p_month using errcode = 'check_violation';
  end if;
  execute format('drop table %I', archived_table(p_month, p_number));
end
$$;

-- How many events have no partition of their month, counted up to a bound.
create function eventstore.rest_events(bound bigint) returns bigint
language sql security definer
set search_path = eventstore, pg_temp as $$
  select count(*) from (select from event_rest limit bound) as found
$$;

revoke all on function
  eventstore.unused_positions, eventstore.skip_positions, eventstore.detach_month,
  eventstore.event_counts, eventstore.archived_table, eventstore.drop_month,
  eventstore.rest_events
from public;
grant usage on schema eventstore to drivewake_keeper;
grant select on eventstore.event, eventstore.lane, eventstore.applied, eventstore.checkpoint,
  eventstore.schema_migrations
to drivewake_keeper;
grant select on eventstore.archived_month, eventstore.restart
to drivewake_keeper, drivewake_reader, drivewake_projector;
grant execute on function
  eventstore.skip_positions, eventstore.detach_month, eventstore.drop_month,
  eventstore.archived_table, eventstore.key_at
to drivewake_keeper;
grant execute on function eventstore.unused_positions
to drivewake_keeper, drivewake_reader, drivewake_projector;
grant execute on function eventstore.rest_events
to drivewake_keeper, drivewake_reader, drivewake_writer;

-- migrate:down
