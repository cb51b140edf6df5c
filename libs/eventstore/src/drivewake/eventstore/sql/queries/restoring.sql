-- lanes: where every lane stands
select id, head from eventstore.lane order by id;

-- known: whether an event stands at its position, or was archived with its month
select exists (
  select from eventstore.event
  where key = $3::text::uuid and lane = $1 and position = $2
) or exists (
  select from eventstore.archived_month a, json_array_elements(a.manifest::json -> 'parts') part
  where (part ->> 'lane')::smallint = $1
    and $2 between (part ->> 'first_position')::bigint and (part ->> 'last_position')::bigint
);

-- restarted: whether a position was given before a restore that was seen to
select relayed from eventstore.restart
where lane = $1 and relayed < $2 and next_position > $2
limit 1;

-- skip: go on behind a position
select eventstore.skip_positions($1, $2, $3);

-- logs: the oldest cursor up to which some partition of a log is in the store
select distinct on (tenant, connection, log) tenant, connection, log, cursor, observed_at as since
from eventstore.applied
order by tenant, connection, log, observed_at;

-- remember: keep what names the facts that were taken back
insert into eventstore.recovered (fact) select unnest($1::bytea[]) on conflict do nothing;

-- resynced: let states of connections be read again
insert into eventstore.resync default values;
