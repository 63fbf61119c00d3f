-- The days ahead are made by one function: `up` calls it, and the processor while it runs.

set role promoter;

create function realtime.ensure_days_ahead(topic text) returns date
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    days_ahead constant integer := 7;
    today constant date := (now() at time zone 'utc')::date;
begin
    for ahead in 0 .. days_ahead loop
        perform realtime.ensure_partition(topic, today + ahead);
    end loop;
    return today + days_ahead;
end
$$;
comment on function realtime.ensure_days_ahead(text) is
'Makes what is missing of a topic''s partitions of today (UTC) and ahead; the last of these days.';

revoke all on function realtime.ensure_days_ahead(text) from public;
grant execute on function realtime.ensure_days_ahead(text) to stream_writer;
