-- months: which months have a partition
select substr(c.relname, 7) as month from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'eventstore.event'::regclass and c.relname ~ '^event_[0-9]{6}$'
order by c.relname;

-- archived: what was archived, in the order in which it was
select month, number, state, manifest, detached_at, dropped_at from eventstore.archived_month
order by detached_at, month, number;

-- next_number: what the next archive of a month is called
select coalesce(max(number), 0) + 1 from eventstore.archived_month where month = $1;

-- key_bounds: between which keys the events of a month lie
select eventstore.key_at($1::timestamptz) as first_key,
  eventstore.key_at($1::timestamptz + interval '1 month') as end_key;

-- schema_version: the last migration
select max(version) from eventstore.schema_migrations;

-- month_rows: the next events between two keys, by lane and position
select lane, position, key, tenant, connection, stream, type, occurred_at, data, metadata,
  sealed
from {table}
where key >= $1 and key < $2 and (lane, position) > ($3, $4)
order by lane, position
limit $5;

-- archived_table: where the events of a month are that was detached
select 'eventstore.' || eventstore.archived_table($1, $2);

-- detach: take a month out of the table
select eventstore.detach_month($1, $2, $3, $4, $5);

-- drop: delete a month that was detached
select eventstore.drop_month($1, $2);

-- unused: how many positions of a stretch were never given, or are not given again
select eventstore.unused_positions($1, $2, $3);

-- rest: how many events have no partition of their month, counted up to a bound
select eventstore.rest_events($1);

-- archived_upto: the last archived position of a lane, if it is behind a position
select max((part ->> 'last_position')::bigint) from eventstore.archived_month a,
  json_array_elements(a.manifest::json -> 'parts') part
where (part ->> 'lane')::smallint = $1
having max((part ->> 'last_position')::bigint) > $2;
