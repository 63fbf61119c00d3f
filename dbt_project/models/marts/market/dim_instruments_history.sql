{{ config(materialized="view") }}
with

instruments as (

    select * from {{ ref("dim_instruments") }}

),

listed as (

    select * from {{ ref("int_instruments_listed") }}

),

-- The terms of an instrument are those of one pattern, with its earlier lines.
matched as (

    select distinct on (instruments.instrument_key)
        instruments.instrument_key,
        listed.pattern
    from instruments
    inner join listed on {{ is_listed("listed", "instruments") }}
    order by instruments.instrument_key, {{ most_specific("listed") }}

),

final as (

    select
        instruments.instrument_key,
        instruments.venue_key,
        coalesce(listed.instrument_kind, instruments.instrument_kind) as instrument_kind,
        coalesce(listed.base_currency, instruments.base_currency) as base_currency,
        coalesce(listed.quote_currency, instruments.quote_currency) as quote_currency,
        coalesce(listed.contract_unit, instruments.contract_unit) as contract_unit,
        coalesce(listed.contract_size, instruments.contract_size) as contract_size,
        coalesce(listed.is_current, true) as is_current,
        coalesce(listed.expiry_date, instruments.expiry_date) as expiry_date,
        listed.effective_at,
        listed.known_at,
        listed.superseded_at
    from instruments
    left join matched on instruments.instrument_key = matched.instrument_key
    left join listed
        on
            instruments.source_system = listed.source_system
            and matched.pattern = listed.pattern

)

select * from final
