-- migrate:up

-- append_lock and append_take have taken its place.
-- squawk-ignore ban-drop-function
drop function eventstore.append_begin(smallint, uuid[]);

-- migrate:down
