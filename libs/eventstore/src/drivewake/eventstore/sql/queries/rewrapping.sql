-- lie: how many data keys lie under which key of the keyring
select ring_key, count(*) as keys from eventstore.data_key
where wrapped is not null group by ring_key order by ring_key;

-- page: some that do not lie under the current one, in the order of their owners
select tenant, connection, ring_key, wrapped from eventstore.data_key
where wrapped is not null and ring_key <> $1 and (tenant, connection) > ($2, $3)
order by tenant, connection limit $4;

-- rewrap: put them, wrapped anew, in the place of what they were; how many
select eventstore.rewrap_data_keys($1, $2, $3, $4, $5);
