{{ config(materialized="view") }}
with

deleted as (

    select * from {{ ref("int_tick_days_deleted") }}

),

final as (

    select
        {{ joined_key(["instrument_key"]) }} || ':' || traded_date as deleted_tick_day_key,
        instrument_key,
        row_count,
        traded_date,
        deleted_at
    from deleted

)

select * from final
