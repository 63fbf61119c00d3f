with

loads as (

    select * from {{ ref("stg_ops__loads") }}

),

set_aside as (

    select * from {{ ref("stg_ops__set_aside_files") }}

),

-- A file that was loaded once and could not be again is both: the table keeps the rows that it had of it.
final as (

    select
        {{ joined_key(["source_table", "file_name"]) }} as load_key,
        file_name,
        coalesce(loads.source_system, set_aside.source_system) as source_system,
        source_table,
        loads.load_id,
        set_aside.reason as set_aside_reason,
        loads.row_count,
        set_aside.reason is not null as is_set_aside,
        to_timestamp(loads.load_id::double precision) as requested_at,
        coalesce(loads.noted_at, set_aside.set_aside_at) as noted_at,
        greatest(loads.last_changed_at, set_aside.tried_at) as last_changed_at
    from loads
    full outer join set_aside using (source_table, file_name)

)

select * from final
