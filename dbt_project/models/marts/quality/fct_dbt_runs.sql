{{ config(materialized="view") }}
with

dbt_runs as (

    select * from {{ ref("int_dbt_runs_timed") }}

),

final as (

    select
        invocation_id,
        target,
        command,
        version,
        outcome,
        failed_names,
        node_count,
        failed_count,
        warned_count,
        skipped_count,
        duration_seconds,
        started_at,
        finished_at
    from dbt_runs

)

select * from final
