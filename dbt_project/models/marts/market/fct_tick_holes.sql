{{ config(materialized="view") }}
with

days as (

    select * from {{ ref("fct_tick_days") }}
    where hole_count > 0

),

final as (

    select
        hole.value ->> 'key' as tick_hole_key,
        days.instrument_key,
        days.source_system,
        days.symbol,
        hole.value ->> 'kind' as hole_kind,
        hole.value ->> 'reason' as reason,
        (hole.value ->> 'first')::bigint as first_missing_number,
        (hole.value ->> 'last')::bigint as last_missing_number,
        (hole.value ->> 'missing')::bigint as missing_trade_count,
        (hole.value ->> 'from')::timestamp at time zone 'UTC' as started_at,
        (hole.value ->> 'to')::timestamp at time zone 'UTC' as ended_at
    from days
    cross join lateral jsonb_array_elements(days.holes) as hole (value)

)

select * from final
