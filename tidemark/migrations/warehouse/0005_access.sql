-- What was changed of people's roles and rights in this database. Begun by the administrator, who is a member of every
-- role.

set role promoter;

create table ops.access_change (
    change_id bigint generated always as identity primary key,
    changed_at timestamptz not null default now(),
    role_name text not null,
    change text not null
);
grant select on ops.access_change to catalog_reader;
