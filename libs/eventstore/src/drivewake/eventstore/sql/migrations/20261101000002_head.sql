-- migrate:up

-- What the append writes beside events. All of it under the lane's lock, lane first.

create table eventstore.head (
  tenant text not null,
  kind text not null,
  id text not null,
  revision bigint not null check (revision > 0),
  state bytea not null,
  primary key (tenant, kind, id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

comment on table eventstore.head is 'What was last known of one thing; opaque to the store.';

create table eventstore.mark (
  tenant text not null,
  log text not null,
  fact text not null,
  partition smallint not null,
  set_at timestamptz not null default clock_timestamp(),
  primary key (tenant, log, fact, partition)
);

comment on table eventstore.mark is 'Which partitions have settled a fact of a whole log.';

create table eventstore.applied (
  tenant text not null,
  connection text not null,
  log text not null,
  partition smallint not null,
  cursor text not null,
  observed_at timestamptz not null,
  primary key (tenant, log, partition)
) with (fillfactor = 50);

comment on table eventstore.applied is
  'Up to which cursor of a log a partition is in the store: where to resume after a restore.';

-- Compare the revisions of heads and advance all of them, or none. `expected` is a revision,
-- 0 (must not exist), -1 (whatever it is) or -2 (must exist). Returns a row for each head that
-- is not as expected, and if there is none, one row (0, number of heads written).
create function eventstore.advance_heads(
  tenants text[], kinds text[], ids text[], expected bigint[], states bytea[],
  out ordinal bigint, out found_revision bigint
) returns setof record
language sql security definer
set search_path = eventstore, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off as $$
  with wanted as materialized (
    select w.*, coalesce(h.revision, 0) as revision
    from unnest(tenants, kinds, ids, expected, states) with ordinality
      as w (tenant, kind, id, expected, state, ordinal)
    left join head h on h.tenant = w.tenant and h.kind = w.kind and h.id = w.id
  ), moved as materialized (
    select w.ordinal, w.revision from wanted w
    where not (w.expected = w.revision or w.expected = -1 or (w.expected = -2 and w.revision > 0))
  ), written as (
    insert into head as h (tenant, kind, id, revision, state)
    select w.tenant, w.kind, w.id, w.revision + 1, w.state from wanted w
    where not exists (select from moved)
    on conflict on constraint head_pkey do update
      set revision = excluded.revision, state = excluded.state
      where h.revision = excluded.revision - 1
    returning 1
  )
  select m.ordinal, m.revision from moved m
  union all
  select 0, (select count(*) from written) where not exists (select from moved)
  order by 1
$$;

-- Set marks; returns the ordinal of the mark that completed each fact.
create function eventstore.set_marks(
  tenants text[], logs text[], facts text[], partitions smallint[], required integer[],
  out ordinal bigint
) returns setof bigint
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
declare
  fresh bigint[];
begin
  with wanted as (
    select * from unnest(tenants, logs, facts, partitions) with ordinality
      as w (tenant, log, fact, partition, ordinal)
  ), inserted as (
    insert into mark (tenant, log, fact, partition)
    select w.tenant, w.log, w.fact, w.partition from wanted w
    on conflict do nothing
    returning mark.tenant, mark.log, mark.fact, mark.partition
  )
  select array_agg(w.ordinal) into fresh
  from wanted w join inserted i using (tenant, log, fact, partition);
  return query
    select max(w.ordinal)
    from unnest(tenants, logs, facts, required) with ordinality
      as w (tenant, log, fact, required, ordinal)
    where w.ordinal = any (fresh)
    group by w.tenant, w.log, w.fact
    having (
      select count(*) from mark m
      where m.tenant = w.tenant and m.log = w.log and m.fact = w.fact
    ) = max(w.required);
end
$$;

-- Remember applied cursors; an older one never replaces a younger one.
create function eventstore.set_applied(
  tenants text[], connections text[], logs text[], partitions smallint[], cursors text[],
  observed timestamptz[]
) returns void
language sql security definer
set search_path = eventstore, pg_temp as $$
  insert into applied as a (tenant, connection, log, partition, cursor, observed_at)
  select * from unnest(tenants, connections, logs, partitions, cursors, observed)
  on conflict (tenant, log, partition) do update
    set connection = excluded.connection, cursor = excluded.cursor,
      observed_at = excluded.observed_at
    where a.observed_at <= excluded.observed_at
$$;

-- migrate:down
