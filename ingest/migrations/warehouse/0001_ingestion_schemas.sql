-- Where dlt makes the all-text tables. Begun by the administrator, who is a member of every role.

create schema ingestion authorization ingest_writer;
create schema ingestion_staging authorization ingest_writer;  -- dlt merges from here

set role ingest_writer;

grant usage on schema ingestion to transformer, catalog_reader, promoter;
alter default privileges for role ingest_writer in schema ingestion
grant select on tables to transformer, catalog_reader, promoter;
