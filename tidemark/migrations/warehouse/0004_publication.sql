-- What a run of dbt did, and which run each mart is of. Begun by the administrator, who is a member of every role.

set role promoter;

-- A run of dbt; noted when it begins and when it ends. One that tests only, or makes the views of `live`, publishes no
-- mart.
create table ops.dbt_run (
    invocation_id text primary key,      -- dbt's own, as in its logs and artifacts
    target text not null,
    command text not null,
    version text not null,               -- of Tidemark, and the commit where there is one
    started_at timestamptz not null,
    finished_at timestamptz,             -- none: it goes on, or was ended from outside
    failed_nodes integer,
    node_count integer,                  -- models, tests and unit tests that the run had
    warned_nodes integer,
    skipped_nodes integer                -- not run: what they need failed
);
create index dbt_run_started on ops.dbt_run (started_at);

-- Written in the transaction that changes the mart.
create table ops.published_mart (
    mart text primary key,
    invocation_id text not null,
    published_at timestamptz not null
);

-- A row a mart: the run that its rows are of, and whether a run is under way. A run that never said its end is under way
-- until a later one begins.
create view ops.publication as
select
    published.mart,
    published.invocation_id,
    run.target,
    run.command,
    run.version,
    run.started_at,
    run.finished_at,
    run.failed_nodes,
    published.published_at,
    latest.finished_at is null as is_under_way,
    case when latest.finished_at is null then latest.invocation_id end as under_way_invocation_id
from ops.published_mart as published
inner join ops.dbt_run as run on published.invocation_id = run.invocation_id
cross join lateral (
    select
        invocation_id,
        finished_at
    from ops.dbt_run
    where target = 'warehouse' and command <> 'test'
    order by started_at desc
    limit 1
) as latest;

grant insert, update on ops.dbt_run, ops.published_mart to transformer;
grant usage on schema ops to bi_reader;
grant select on ops.publication to bi_reader;
