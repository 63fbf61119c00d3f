-- Database `warehouse`: raw text in, marts out, and who may do what. Applying it again changes nothing.
-- Run by the administrator, who is a member of every role. dlt makes the ingestion tables, dbt the models.

create schema if not exists ingestion authorization ingest_writer;
create schema if not exists ingestion_staging authorization ingest_writer;  -- dlt merges from here
create schema if not exists staging authorization transformer;
create schema if not exists intermediate authorization transformer;
create schema if not exists marts authorization transformer;
create schema if not exists ops authorization promoter;
create schema if not exists quality authorization catalog_reader;

set role promoter;

-- The ledger: one row per promotion, topic day, log epoch and partition. A day promoted again gets a new promotion.
create table if not exists ops.promotion (
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

reset role;
set role catalog_reader;

create table if not exists quality.check_result (
    contract text not null,
    dataset text not null,
    check_name text not null,
    column_name text,
    outcome text not null,               -- passed, failed, not evaluated
    failing_rows bigint,
    measured double precision,           -- what was compared with the check's limit
    detail text,
    checked_at timestamptz not null
);

reset role;

grant usage on schema ingestion to transformer, catalog_reader, promoter;
alter default privileges for role ingest_writer in schema ingestion
grant select on tables to transformer, catalog_reader, promoter;
grant usage on schema ops to transformer, catalog_reader;
alter default privileges for role promoter in schema ops
grant select on tables to transformer, catalog_reader;
grant select on all tables in schema ops to transformer, catalog_reader;
grant usage on schema staging, intermediate to catalog_reader;
grant usage on schema marts to promoter, catalog_reader, bi_reader;
alter default privileges for role transformer in schema staging
grant select on tables to catalog_reader;
alter default privileges for role transformer in schema intermediate
grant select on tables to catalog_reader;
alter default privileges for role transformer in schema marts
grant select on tables to promoter, catalog_reader, bi_reader;
