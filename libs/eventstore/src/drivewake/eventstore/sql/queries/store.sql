-- append_lock: lock the lane; take positions if no key can be known, else tell the highest key
select base, high, eventstore.current_key_epoch() as key_epoch
from eventstore.append_lock($1, $2, $3);

-- append_take: lock the lane, tell known keys, take positions for the others
select base, dup, eventstore.current_key_epoch() as key_epoch
from eventstore.append_take($1, $2, $3);

-- advance_heads: compare and write heads; a row for each that moved, else (0, written)
select ordinal, found_revision from eventstore.advance_heads($1, $2, $3, $4, $5);

-- set_marks: set marks, tell which of them completed a fact
select ordinal from eventstore.set_marks($1, $2, $3, $4, $5) as ordinal order by ordinal;

-- set_applied: remember applied cursors
select eventstore.set_applied($1, $2, $3, $4, $5, $6);

-- ensure_month: make the partition of the month that holds an instant
select eventstore.ensure_month($1);

-- heads: the heads of one kind, by id
select id, revision, state from eventstore.head
where tenant = $1 and kind = $2 and id = any ($3);

-- head_ids: the next ids of one kind
select id from eventstore.head
where tenant = $1 and kind = $2 and id > $3
order by id
limit $4;

-- applied: the applied cursors of a connection
select tenant, connection, log, partition, cursor, observed_at from eventstore.applied
where tenant = $1 and connection = $2
order by log, partition;

-- read: the next events of a lane
select position, key, tenant, connection, stream, type, occurred_at, data, metadata,
  sealed
from eventstore.event
where lane = $1 and position > $2
order by position
limit $3;

-- read_selected: the next events up to a position that match what is not empty
select position, key, tenant, connection, stream, type, occurred_at, data, metadata,
  sealed
from eventstore.event
where lane = $1 and position > $2 and position <= $8
  and ($4 = '' or tenant = $4)
  and ($5 = '' or connection = $5)
  and ($6 = '' or stream = $6)
  and (cardinality($7::text[]) = 0 or type = any ($7))
order by position
limit $3;

-- last_position: the position of a lane's newest event
select head from eventstore.lane where id = $1;

-- checkpoint: where a reader stands
select position from eventstore.checkpoint where name = $1 and lane = $2;

-- save_checkpoint: remember where a reader stands
select eventstore.save_checkpoint($1, $2, $3);

-- restarted: up to where downstream has our events, if a position was lost by a restore
select relayed from eventstore.restart
where lane = $1 and relayed < $2 and next_position > $2
order by after_position desc
limit 1;

-- restarts: how often the store went on after a restore
select coalesce(max(number), 0) from eventstore.resync;

-- recovered: which facts were taken back lately, before their heads knew
select fact from eventstore.recovered where at > now() - interval '60 days';

-- try_lock: take the lock of a name and a lane, if it is free
select pg_try_advisory_lock($1, $2);

-- join: say that this session is one of those who share a name
select pg_advisory_lock_shared($1, $2);

-- standing: who is there, and who holds which number of a name
select pid, objid::int as number
from pg_catalog.pg_locks
where locktype = 'advisory' and granted and objsubid = 2 and classid = $1::oid
  and database = (select oid from pg_catalog.pg_database where datname = current_database());

-- unlock: give the lock back
select pg_advisory_unlock($1, $2);

-- durability: whether a commit waits for the disk
show synchronous_commit;
