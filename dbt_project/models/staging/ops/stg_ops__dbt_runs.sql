{{ config(event_time=none) }}
with

dbt_runs as (

    select * from {{ source_or_empty("ops", "dbt_run") }} as noted

),

final as (

    select
        invocation_id,
        target,
        command,
        version,
        nullif(failed_names, '') as failed_names,
        node_count,
        failed_nodes as failed_count,
        warned_nodes as warned_count,
        skipped_nodes as skipped_count,
        started_at,
        finished_at
    from dbt_runs

)

select * from final
