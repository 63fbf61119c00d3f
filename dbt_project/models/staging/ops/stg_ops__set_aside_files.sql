{{ config(event_time=none) }}
with

set_aside_files as (

    select * from {{ source_or_empty("ops", "set_aside") }} as noted

),

final as (

    select
        file_name,
        source as source_system,
        table_name as source_table,
        reason,
        set_aside_at,
        tried_at
    from set_aside_files

)

select * from final
