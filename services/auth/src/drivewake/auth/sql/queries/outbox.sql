-- hold_outbox: one publisher at a time, until the end of the transaction
select pg_try_advisory_xact_lock(hashtextextended('drivewake.auth.outbox', 0));

-- pending: unpublished revisions but of some connections, of each connection the lowest first
select transition.*, connection.issuer, connection.subject, connection.created_at
from auth.transition join auth.connection on connection.id = transition.connection
where transition.published_at is null and transition.connection <> all($2::text[])
order by transition.number limit $1;

-- mark_published: the stream holds this revision
update auth.transition set published_at = now() where connection = $1 and revision = $2;

-- unpublish: the stream does not hold these revisions
update auth.transition set published_at = null
where connection = $1 and revision > $2 and published_at is not null;
