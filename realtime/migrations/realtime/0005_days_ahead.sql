-- The days ahead are made by one function: `up` calls it, and the processor while it runs.

set role promoter;

create function realtime.ensure_days_ahead() returns date
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    days_ahead constant integer := 7;
    today constant date := (now() at time zone 'utc')::date;
    topic text;
begin
    for topic in
        select relname from pg_class
        where relnamespace = 'realtime'::regnamespace and relkind = 'p'
        order by relname
    loop
        for ahead in 0 .. days_ahead loop
            perform realtime.ensure_partition(topic, today + ahead);
        end loop;
    end loop;
    return today + days_ahead;
end
$$;
comment on function realtime.ensure_days_ahead() is
'Makes what is missing of the partitions of today (UTC) and the days ahead; the last of them.';

revoke all on function realtime.ensure_days_ahead() from public;
grant execute on function realtime.ensure_days_ahead() to stream_writer;
