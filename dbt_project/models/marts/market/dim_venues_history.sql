{{ config(materialized="view") }}
with

described as (

    select * from {{ ref("int_venues_described") }}

),

final as (

    select
        venue_key,
        venue_name,
        venue_kind,
        currency,
        size_unit,
        time_zone,
        is_current,
        is_open_all_day,
        has_numbered_trades,
        session_shift,
        effective_at,
        known_at,
        superseded_at
    from described

)

select * from final
