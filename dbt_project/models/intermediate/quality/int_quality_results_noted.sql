with

results as (

    select * from {{ ref("stg_quality__results") }}

),

final as (

    select
        {{ joined_key(["run_id", "dataset", "check_name"]) }} as quality_result_key,
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
        outcome = 'passed' as is_passed,
        checked_at
    from results

)

select * from final
