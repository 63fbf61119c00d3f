with

dbt_runs as (

    select * from {{ ref("stg_ops__dbt_runs") }}

),

final as (

    select
        invocation_id,
        target,
        command,
        version,
        case
            when finished_at is null then 'open'
            when failed_count > 0 then 'failed'
            else 'succeeded'
        end as outcome,
        failed_names,
        node_count,
        failed_count,
        warned_count,
        skipped_count,
        extract(epoch from finished_at - started_at)::double precision as duration_seconds,
        started_at,
        finished_at
    from dbt_runs

)

select * from final
