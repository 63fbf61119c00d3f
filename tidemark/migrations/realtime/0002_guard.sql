-- What the guard did, counted by day. Begun by the administrator, who is a member of every role.

create schema guard authorization guard;

set role guard;

create table guard.action (
    day date not null,
    role_name text not null,
    database_name text not null,
    reason text not null,                -- what was gone past, or what was put back
    times bigint not null,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    last_detail text not null,           -- which session, since when, what it held up
    primary key (day, role_name, database_name, reason)
);
grant usage on schema guard to catalog_reader;
grant select on guard.action to catalog_reader;
