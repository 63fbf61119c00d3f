-- The results of every check, as data. Begun by the administrator, who is a member of every role.

create schema quality authorization catalog_reader;

set role catalog_reader;

create table quality.check_result (
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
