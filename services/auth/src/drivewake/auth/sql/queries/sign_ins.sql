-- add_link: leave to connect one account
insert into auth.link (id, tenant, connection, expires_at) values ($1, $2, $3, $4);

-- open_link: count an opening of a link that can still be used
update auth.link set opened = opened + 1
where id = $1 and spent_at is null and expires_at > $2 and opened < $3
returning id, tenant, connection, expires_at;

-- spend_link: the link made its connection
update auth.link set spent_at = $2 where id = $1 and spent_at is null returning id;

-- add_sign_in: a browser leaves for Google
insert into auth.sign_in (id, link, tenant, connection, browser, key_id, sealed, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8);

-- take_sign_in: a browser is back; works once
delete from auth.sign_in where id = $1 and browser = $2 and expires_at > $3 returning *;

-- forget_sign_ins: nobody can come back to these
delete from auth.sign_in where id in
  (select id from auth.sign_in where expires_at <= $1 limit 1000);

-- forget_links: nobody can use these
delete from auth.link where id in
  (select link.id from auth.link where link.expires_at <= $1
    and not exists (select from auth.sign_in where sign_in.link = link.id) limit 1000);
