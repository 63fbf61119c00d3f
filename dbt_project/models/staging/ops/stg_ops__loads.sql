{{ config(event_time=none) }}
with

loads as (

    select * from {{ source_or_empty("ops", "load") }} as noted

),

final as (

    select
        file_name,
        source as source_system,
        table_name as source_table,
        load_id,
        row_count,
        noted_at,
        changed_at as last_changed_at
    from loads

)

select * from final
