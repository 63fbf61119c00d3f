-- What a run of dbt did, also of one that tests only or makes the views of `live`: neither publishes a mart. Begun by the
-- administrator, who is a member of every role.

set role promoter;

alter table ops.dbt_run
add column node_count integer,           -- models, tests and unit tests that the run had
add column warned_nodes integer,
add column skipped_nodes integer;        -- not run: what they need failed

create or replace view ops.publication as
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
