{%- set columns = {
    "source_system": "text",
    "venue_name": "text",
    "venue_kind": "text",
    "currency": "text",
    "size_unit": "text",
    "time_zone": "text",
    "session_shift": "interval",
    "is_open_all_day": "boolean",
    "has_numbered_trades": "boolean",
    "effective_at": "timestamptz",
    "known_at": "timestamptz",
} -%}
with

listed as (
    {{ listed("venues", columns) }}
),

final as (

    select
        {{ joined_key(["source_system"]) }} as venue_key,
        source_system,
        venue_name,
        venue_kind,
        currency,
        size_unit,
        coalesce(time_zone, 'UTC') as time_zone,
        coalesce(session_shift, interval '0') as session_shift,
        coalesce(is_open_all_day, false) as is_open_all_day,
        coalesce(has_numbered_trades, false) as has_numbered_trades,
        lead(effective_at) over history is null as is_current,
        effective_at,
        known_at,
        lead(effective_at) over history as superseded_at
    from listed
    window history as (partition by source_system order by effective_at)

)

select * from final
