{{ config(event_time=none) }}
with

deleted_tick_days as (

    select * from {{ source_or_empty("ops", "deleted_tick_day") }} as noted

),

final as (

    select
        instrument_key,
        row_count,
        traded_date,
        deleted_at
    from deleted_tick_days

)

select * from final
