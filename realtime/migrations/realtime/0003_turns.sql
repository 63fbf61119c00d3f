-- What writers wait for is a row that no person can lock, never an advisory key, and never without a limit.

set role promoter;

create table realtime.turn (name text primary key);
grant select, insert, update on realtime.turn to stream_writer;

-- Makes the partition of one day: created, then attached, so that no reader is waited for; one creator at a time.
create or replace function realtime.ensure_partition(topic text, day date) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
    partition_name constant text := topic || '_' || to_char(day, 'YYYYMMDD');
    lower_bound constant text := to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00';
    upper_bound constant text := to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
begin
    if not exists (
        select from pg_class
        where relnamespace = 'realtime'::regnamespace and relname = topic and relkind = 'p'
    ) then
        raise exception 'expected a topic that has a table in realtime, received %', topic;
    end if;
    if to_regclass(format('realtime.%I', partition_name)) is not null then
        return false;
    end if;
    insert into realtime.turn (name) values ('partition ' || topic) on conflict (name) do nothing;
    perform from realtime.turn where name = 'partition ' || topic for update;
    if to_regclass(format('realtime.%I', partition_name)) is not null then
        return false;
    end if;
    -- Vacuumed as it grows, and not only when a fifth is new: the index alone answers for pages that were.
    execute format(
        'create table realtime.%I (like realtime.%I including all) '
        'with (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000)',
        partition_name, topic
    );
    execute format(
        'alter table realtime.%I attach partition realtime.%I for values from (%L) to (%L)',
        topic, partition_name, lower_bound, upper_bound
    );
    return true;
exception when lock_not_available then
    raise exception 'expected to make the partition of % in %, another session holds it for more than 5 s',
        day, topic using errcode = 'lock_not_available', hint = 'it is tried again';
end
$$;
