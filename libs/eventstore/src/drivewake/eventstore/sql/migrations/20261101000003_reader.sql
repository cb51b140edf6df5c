-- migrate:up

-- Where readers stand that keep no place of their own, such as the relay.
create table eventstore.checkpoint (
  name text not null,
  lane smallint not null,
  position bigint not null,
  saved_at timestamptz not null default clock_timestamp(),
  primary key (name, lane)
) with (fillfactor = 50);

comment on table eventstore.checkpoint is 'The position up to which a reader has read a lane.';

-- Save a place; a lower one than the saved is ignored.
create function eventstore.save_checkpoint(p_name text, p_lane smallint, p_position bigint)
returns void
language sql security definer
set search_path = eventstore, pg_temp as $$
  insert into checkpoint as c (name, lane, position) values (p_name, p_lane, p_position)
  on conflict (name, lane) do update
    set position = excluded.position, saved_at = clock_timestamp()
    where c.position < excluded.position
$$;

-- migrate:down
