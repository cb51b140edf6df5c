-- begin: open the record of an erasure, or the one there is
select id, asked_at from eventstore.begin_erasure($1, $2, $3, $4);

-- erase_keys: delete data keys; how many there were
select eventstore.erase_data_keys($1);

-- drop_heads: delete heads at these revisions; the ids of those that moved
select eventstore.drop_heads($1, $2, $3, $4);

-- drop_parts: delete heads of what hangs on files that have none any more
select eventstore.drop_parts($1, $2);

-- drop_chunk: delete a chunk of what is covered as a whole, 0 when nothing is left
select eventstore.drop_chunk($1, $2, $3);

-- finish: note what was done
select eventstore.finish_erasure($1, $2);

-- live_keys: how many data keys are not erased
select count(*) from eventstore.data_key
where tenant = $1 and ($2 = '' or connection = $2) and erased_at is null;

-- heads_of_tenant: how many heads a tenant has
select count(*) from eventstore.head where tenant = $1;

-- projections: schemas of read models
select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'version'
where c.relname = 'checkpoint' and c.relkind = 'r' and n.nspname !~ '_(next|old)$'
order by n.nspname;
