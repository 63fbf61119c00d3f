-- What the streaming lane keeps, as version 0.1.0 made it. Begun by the administrator, who is a member of every role.

create schema realtime authorization promoter;

set role promoter;

-- An epoch is one life of a topic's log: a recreated topic, or one cut short, begins the next.
create table realtime.log_epoch (
    topic text not null,
    log_epoch smallint not null,
    topic_id text not null,              -- Kafka's own id of the topic
    opened_at timestamptz not null default now(),
    primary key (topic, log_epoch)
);

-- The processor's position, in the same database as the rows it accounts for: both commit together.
create table realtime.consumer_offset (
    topic text not null,
    log_epoch smallint not null,
    kafka_partition smallint not null,
    first_offset bigint not null,        -- where this epoch's accounting begins
    next_offset bigint not null,         -- everything below it is accounted for
    log_end_offset bigint not null default 0,  -- the highest end of the log that was seen
    empty_offsets bigint not null default 0,  -- offsets that held no record: markers, aborted records
    updated_at timestamptz not null default now(),
    primary key (topic, log_epoch, kafka_partition),
    foreign key (topic, log_epoch) references realtime.log_epoch
);

-- A record that cannot be a row, as it came.
create table realtime.quarantine (
    topic text not null,
    log_epoch smallint not null,
    kafka_partition smallint not null,
    kafka_offset bigint not null,
    received_at timestamptz not null,
    reason text not null,                -- one of few words, to count by
    detail text not null,                -- expected .., received ..
    record_key bytea,
    payload bytea,
    quarantined_at timestamptz not null default now(),
    dropped_at timestamptz,              -- a person gave it up
    dropped_by text,
    primary key (topic, log_epoch, kafka_partition, kafka_offset)
);

-- Offsets whose records are gone for good, as a person acknowledged when opening the next epoch.
create table realtime.lost (
    topic text not null,
    log_epoch smallint not null,
    kafka_partition smallint not null,
    first_offset bigint not null,
    end_offset bigint not null,          -- exclusive
    acknowledged_at timestamptz not null default now(),
    acknowledged_by text not null default session_user,
    primary key (topic, log_epoch, kafka_partition, first_offset)
);

-- Written in the transaction that drops a promoted partition: which promotions of warehouse.ops have left.
create table realtime.trimmed (
    promotion_id uuid primary key,
    topic text not null,
    day date not null,
    row_count bigint not null,
    trimmed_at timestamptz not null default now()
);

-- Every feed ever seen: a source and one of its symbols or publishers. Views over the latest of each start here.
create table realtime.feed (
    topic text not null,
    source_system text not null,
    name text not null,                  -- the symbol, or the event's publisher
    first_seen_at timestamptz not null default now(),
    primary key (topic, source_system, name)
);

-- Makes the partition of one day: created, then attached, so that no reader is waited for; one creator at a time.
create function realtime.ensure_partition(topic text, day date) returns boolean
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
    execute format('create table realtime.%I (like realtime.%I including all)', partition_name, topic);
    execute format(
        'alter table realtime.%I attach partition realtime.%I for values from (%L) to (%L)',
        topic, partition_name, lower_bound, upper_bound
    );
    return true;
end
$$;

-- A category is a table, partitioned by the day (UTC) of the record's time in Kafka.
create table realtime.market_tick (
    source_system text not null,
    symbol text not null,
    timestamp timestamptz not null,
    price double precision not null,
    size double precision not null,
    attributes jsonb not null default '{}',
    log_epoch smallint not null,
    kafka_partition smallint not null,
    kafka_offset bigint not null,
    received_at timestamptz not null
) partition by range (received_at);
create index market_tick_key on realtime.market_tick (symbol, timestamp);

create table realtime.order_book_l2 (
    source_system text not null,
    symbol text not null,
    side text not null,
    level smallint not null,
    price double precision not null,
    size double precision not null,
    attributes jsonb not null default '{}',
    log_epoch smallint not null,
    kafka_partition smallint not null,
    kafka_offset bigint not null,
    received_at timestamptz not null
) partition by range (received_at);
create index order_book_l2_key on realtime.order_book_l2 (symbol, received_at);

create table realtime.economic_event_numeric (
    source_system text not null,
    event_publisher text not null,
    value double precision not null,
    unit text not null,
    description text not null,
    attributes jsonb not null default '{}',
    log_epoch smallint not null,
    kafka_partition smallint not null,
    kafka_offset bigint not null,
    received_at timestamptz not null
) partition by range (received_at);
create index economic_event_numeric_key
on realtime.economic_event_numeric (event_publisher, received_at);

create table realtime.economic_event_text (
    source_system text not null,
    event_publisher text not null,
    value text not null,
    unit text not null,
    description text not null,
    attributes jsonb not null default '{}',
    log_epoch smallint not null,
    kafka_partition smallint not null,
    kafka_offset bigint not null,
    received_at timestamptz not null
) partition by range (received_at);
create index economic_event_text_key on realtime.economic_event_text (event_publisher, received_at);

revoke all on function realtime.ensure_partition(text, date) from public;
grant usage on schema realtime to stream_writer, transformer, catalog_reader;
grant execute on function realtime.ensure_partition(text, date) to stream_writer;
grant select on realtime.log_epoch, realtime.consumer_offset, realtime.quarantine, realtime.lost
to stream_writer;
grant insert on realtime.log_epoch, realtime.consumer_offset, realtime.quarantine, realtime.lost
to stream_writer;
grant select, insert on realtime.feed to stream_writer;
grant update on realtime.consumer_offset to stream_writer;
grant update (dropped_at, dropped_by), delete on realtime.quarantine to stream_writer;
grant insert on realtime.market_tick, realtime.order_book_l2 to stream_writer;
grant insert on realtime.economic_event_numeric, realtime.economic_event_text to stream_writer;
grant select on all tables in schema realtime to transformer, catalog_reader;
alter default privileges for role promoter in schema realtime
grant select on tables to transformer, catalog_reader;
