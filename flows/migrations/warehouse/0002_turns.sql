-- What runs one at a time waits for a row that no person can lock, never for an advisory key.

set role promoter;

create table ops.turn (name text primary key);
grant usage on schema ops to ingest_writer;
grant select, insert, update on ops.turn to ingest_writer;
