{{ config(materialized="view") }}
with

loads as (

    select * from {{ ref("int_loads_noted") }}

),

final as (

    select
        load_key,
        file_name,
        source_system,
        source_table,
        load_id,
        set_aside_reason,
        row_count,
        is_set_aside,
        requested_at,
        noted_at,
        last_changed_at
    from loads

)

select * from final
