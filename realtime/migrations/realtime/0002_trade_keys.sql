-- lane stopped: every row of market_tick is written anew, with a key of its trade
-- From 0.1.0's tables to those with epochs that close, topic schemas, and an index that answers for ticks alone.

set role promoter;

-- The next epoch is open: nobody writes in this one any more.
alter table realtime.consumer_offset add column closed_at timestamptz;
update realtime.consumer_offset as closed
set closed_at = (
    select min(later.opened_at) from realtime.log_epoch as later
    where later.topic = closed.topic and later.log_epoch > closed.log_epoch
);
revoke update on realtime.consumer_offset from stream_writer;
grant update (next_offset, log_end_offset, empty_offsets, updated_at) on realtime.consumer_offset
to stream_writer;
revoke insert on realtime.lost from stream_writer;

-- The topic schema as it was last applied: what readers of the topic rely on.
create table if not exists realtime.topic_schema (
    topic text primary key,
    topic_schema jsonb not null,
    applied_at timestamptz not null default now()
);
grant select, insert, update on realtime.topic_schema to stream_writer;
grant select on realtime.topic_schema to transformer, catalog_reader;

-- A trade's key is derived from the row itself, for the index to hold: an id may be longer than an index takes.
-- The ticks of a symbol lie far apart, each on a page of its own: the index holds all that last prices and bars read.
-- The minute, which says nothing that the time does not, is there so that bounds on a bar's start reach the index.
-- A day at a time, so that it can be said how far it is; nobody sees any of it before all of it is there.
do $$
declare
    key_column constant text :=
        'add column trade_key bigint generated always as (hashtextextended(attributes ->> ''id'', 0)) stored';
    key_index constant text := $index$
        (symbol, date_bin('1 minute', "timestamp", 'epoch'), "timestamp")
        include (source_system, price, size, trade_key, log_epoch, kafka_partition, kafka_offset, received_at)
    $index$;
    days regclass[];
    bounds text[];
    started timestamptz;
    row_count bigint;
begin
    lock table realtime.market_tick in access exclusive mode;
    select
        array_agg(partition.oid::regclass order by partition.relname),
        array_agg(pg_get_expr(partition.relpartbound, partition.oid) order by partition.relname)
    into days, bounds
    from pg_inherits
    inner join pg_class as partition on partition.oid = inhrelid
    where inhparent = 'realtime.market_tick'::regclass;
    for day in 1 .. coalesce(cardinality(days), 0) loop
        execute format('alter table realtime.market_tick detach partition %s', days[day]);
    end loop;
    drop index realtime.market_tick_key;
    execute 'alter table realtime.market_tick ' || key_column;
    execute 'create index market_tick_key on realtime.market_tick ' || key_index;
    for day in 1 .. coalesce(cardinality(days), 0) loop
        started := clock_timestamp();
        execute format('alter table %s %s', days[day], key_column);
        execute format('drop index if exists %s', (
            select string_agg(indexrelid::regclass::text, ', ') from pg_index where indrelid = days[day]
        ));
        execute format('alter table realtime.market_tick attach partition %s %s', days[day], bounds[day]);
        execute format('select count(1) from %s', days[day]) into row_count;
        raise notice 'day % of %: % rows in % s', day, cardinality(days), row_count,
            round(extract(epoch from clock_timestamp() - started), 1);
    end loop;
end
$$;

-- Partitions are vacuumed as they grow, and not only when a fifth is new: the index alone answers for pages that were.
do $$
declare
    partition regclass;
begin
    for partition in
        select inhrelid::regclass from pg_inherits
        inner join pg_class as parent on parent.oid = inhparent
        where parent.relnamespace = 'realtime'::regnamespace and parent.relkind = 'p'
    loop
        execute format(
            'alter table %s set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000)',
            partition
        );
    end loop;
end
$$;

-- Makes the partition of one day: created, then attached, so that no reader is waited for; one creator at a time.
create or replace function realtime.ensure_partition(topic text, day date) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
    perform pg_advisory_xact_lock(hashtextextended('realtime.ensure_partition.' || topic, 0));
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
end
$$;
