-- Lake files that could not be loaded, and why. dlt loads beside the ingestion tables now, in ingestion_staging, and
-- what it kept of schemas in `ingestion` is read by nobody any more.

set role promoter;

create table ops.set_aside (
    file_name text primary key,          -- below the lake's root
    source text not null,
    table_name text not null,            -- in schema ingestion
    reason text not null,
    set_aside_at timestamptz not null default now(),
    tried_at timestamptz not null default now()
);

grant select, insert, update, delete on ops.set_aside to ingest_writer;

set role ingest_writer;

drop table if exists ingestion._dlt_loads;
drop table if exists ingestion._dlt_version;
drop table if exists ingestion._dlt_pipeline_state;
