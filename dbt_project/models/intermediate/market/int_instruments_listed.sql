{%- set columns = {
    "source_system": "text",
    "pattern": "text",
    "instrument_kind": "text",
    "base_currency": "text",
    "quote_currency": "text",
    "contract_size": "numeric",
    "contract_unit": "text",
    "expiry_date": "date",
    "effective_at": "timestamptz",
    "known_at": "timestamptz",
} -%}
with

listed as (
    {{ listed("instruments", columns) }}
),

final as (

    select
        source_system,
        pattern,
        instrument_kind,
        base_currency,
        quote_currency,
        contract_size,
        contract_unit,
        expiry_date,
        lead(effective_at) over history is null as is_current,
        effective_at,
        known_at,
        lead(effective_at) over history as superseded_at
    from listed
    window history as (partition by source_system, pattern order by effective_at)

)

select * from final
