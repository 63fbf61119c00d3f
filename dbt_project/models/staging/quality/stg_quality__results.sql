{{ config(event_time=none) }}
with

results as (

    select * from {{ source_or_empty("quality", "results") }} as noted

),

final as (

    select
        run_id,
        tool,
        dataset,
        table_name,
        column_name,
        check_name,
        check_type,
        severity,
        outcome,
        owner,
        detail,
        failing_rows,
        measured,
        checked_at
    from results

)

select * from final
