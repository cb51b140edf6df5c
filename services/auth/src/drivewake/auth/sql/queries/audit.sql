-- hold_audit: one writer of the chain at a time, until the end of the transaction
select pg_advisory_xact_lock(hashtextextended('drivewake.auth.audit', 0));

-- audit_head: the last record; read after `hold_audit`, in a statement of its own
select number, hash from auth.audit order by number desc limit 1;

-- add_audit: a record at the end of the chain
insert into auth.audit (number, at, since, who, action, outcome, why, tenant, connection, count,
  trace, hash)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- audit: records after a number, of one tenant or (null) of all
select * from auth.audit
where number > $1 and ($2::text is null or tenant = $2) order by number limit $3;
