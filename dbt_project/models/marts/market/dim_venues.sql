{{ config(unique_key="venue_key") }}
with

instruments as (

    select * from {{ ref("dim_instruments") }}

),

described as (

    select * from {{ ref("int_venues_described") }}
    where is_current

),

counted as (

    select
        venue_key,
        source_system,
        count(1) as instrument_count
    from instruments
    group by venue_key, source_system

),

final as (

    select
        coalesce(described.venue_key, counted.venue_key) as venue_key,
        coalesce(described.source_system, counted.source_system) as source_system,
        described.venue_name,
        described.venue_kind,
        described.currency,
        described.size_unit,
        coalesce(described.time_zone, 'UTC') as time_zone,
        coalesce(counted.instrument_count, 0) as instrument_count,
        described.venue_key is not null as is_described,
        coalesce(described.is_open_all_day, false) as is_open_all_day,
        coalesce(described.has_numbered_trades, false) as has_numbered_trades,
        coalesce(described.session_shift, interval '0') as session_shift,
        described.effective_at,
        described.known_at
    from described
    full outer join counted on described.venue_key = counted.venue_key

)

select * from final
