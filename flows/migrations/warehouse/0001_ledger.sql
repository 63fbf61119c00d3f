-- The ledger of promotions. Begun by the administrator, who is a member of every role.

create schema ops authorization promoter;

set role promoter;

-- The ledger: one row per promotion, topic day, log epoch and partition. A day promoted again gets a new promotion.
create table ops.promotion (
    promotion_id uuid not null,
    topic text not null,
    day date not null,
    log_epoch smallint not null,
    kafka_partition smallint not null,
    row_count bigint not null,
    first_offset bigint not null,        -- of the rows that went, both ends inclusive
    last_offset bigint not null,
    checksum text not null,              -- over the rows' text, whatever their order
    lake_path text not null,
    promoted_at timestamptz not null default now(),
    verified_at timestamptz,             -- counts and checksums agree in realtime, lake, ingestion and marts
    primary key (promotion_id, log_epoch, kafka_partition)
);

grant usage on schema ops to transformer, catalog_reader;
grant select on ops.promotion to transformer, catalog_reader;
alter default privileges for role promoter in schema ops
grant select on tables to transformer, catalog_reader;
