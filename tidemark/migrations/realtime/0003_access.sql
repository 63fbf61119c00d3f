-- What was changed of people's roles and rights, and when the guard saw each role last. Begun by the administrator, who
-- is a member of every role.

set role guard;

create table guard.access_change (
    change_id bigint generated always as identity primary key,
    changed_at timestamptz not null default now(),
    role_name text not null,
    change text not null
);

-- Written at most once a minute for each role; a session that lives for less than a second may not be seen.
create table guard.role_seen (
    role_name text primary key,
    last_seen_at timestamptz not null,
    last_database text not null
);
grant select on guard.access_change, guard.role_seen to catalog_reader;
