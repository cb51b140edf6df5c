-- epoch: how many erasures there were
select epoch from eventstore.key_epoch;

-- keys: the wrapped keys of owners, null for erased ones
select k.tenant, k.connection, k.ring_key, k.wrapped
from unnest($1::text[], $2::text[]) as w (tenant, connection)
join eventstore.data_key k on k.tenant = w.tenant and k.connection = w.connection;

-- keep: keep a new key unless there is one or was one
select ring_key, wrapped from eventstore.keep_data_key($1, $2, $3, $4);

-- exist: whether anything was ever sealed here
select exists (select from eventstore.data_key);

-- erased: which owners are erased here, by themselves or with their tenant
select w.tenant, w.connection
from unnest($1::text[], $2::text[]) as w (tenant, connection)
where exists (
  select from eventstore.data_key k
  where k.tenant = w.tenant and k.connection in ('', w.connection) and k.erased_at is not null
);

-- finished: whose erasure was carried out to its end, by itself or with the tenant's
select w.tenant, w.connection
from unnest($1::text[], $2::text[]) as w (tenant, connection)
where exists (
  select from eventstore.erasure e
  where e.tenant = w.tenant and e.connection in ('', w.connection) and e.finished_at is not null
);
