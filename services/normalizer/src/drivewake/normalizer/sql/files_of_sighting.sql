-- the next files of one partition that a connection ever saw, behind a given one
select id from eventstore.head
where tenant = $1 and kind = $2 and id > $3
order by id
limit $4
