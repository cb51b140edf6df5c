-- migrate:up

-- append_lock and append_take have taken its place.
drop function eventstore.append_begin(smallint, uuid[]);

-- migrate:down
