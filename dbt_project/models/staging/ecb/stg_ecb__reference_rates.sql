{%- set casts = {"reference_date": "date"} -%}
with

reference_rates as (

    select * from {{ source_as_json("ecb", "reference_rates") }} as loaded

),

-- A column is a currency, whichever there are: a new one needs no change here.
cells as (

    select
        coalesce(reference_rates.record ->> 'source_system', 'ecb') as source_system,
        cell.key as currency,
        {{ blank_to_null("cell.value") }} as rate_text,
        reference_rates.load_id,
        reference_rates.file_name,
        reference_rates.record ->> 'Date' as reference_date,
        reference_rates.loaded_at
    from reference_rates
    cross join lateral jsonb_each_text(reference_rates.record) as cell
    where
        cell.key not in ('Date', 'source_system', 'load_id', 'file_name', 'loaded_at')
        and cell.key not like '\_dlt\_%'

),

final as (

    select
        'ecb__reference_rates' as source_table,
        source_system,
        currency,
        rate_text,
        load_id,
        file_name,
        {{ finite_number("rate_text") }} as rate,
        {{ bad_casts(casts) }} as bad_casts,
        {{ cast_text("reference_date", casts["reference_date"]) }} as reference_date,
        loaded_at
    from cells

)

select * from final
