{{ config(event_time=none) }}
with

deleted as (

    select * from {{ ref("stg_ops__deleted_tick_days") }}

),

final as (

    select
        instrument_key,
        row_count,
        traded_date,
        deleted_at
    from deleted

)

select * from final
