-- security_event: whether an event was acted upon
select true from auth.security_event where jti = $1;

-- add_security_event: an event was acted upon
insert into auth.security_event (jti, received_at) values ($1, $2) on conflict do nothing;

-- forget_security_events: nobody sends these again
delete from auth.security_event where received_at <= $1;

-- of_principal: connections of an account, unless their grant is younger than an instant
select connection.* from auth.connection
left join auth.refresh_token on refresh_token.connection = connection.id
where issuer = $1 and subject = $2 and coalesce(stored_at, connection.created_at) <= $3;

-- of_token: connections by the mark of their refresh token
select connection.* from auth.connection
join auth.refresh_token on refresh_token.connection = connection.id
where prefix_mark = $1 or double_mark = $1;
