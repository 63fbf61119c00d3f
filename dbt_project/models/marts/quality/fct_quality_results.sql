{{ config(materialized="view") }}
with

quality_results as (

    select * from {{ ref("int_quality_results_noted") }}

),

final as (

    select
        quality_result_key,
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
        is_passed,
        checked_at
    from quality_results

)

select * from final
