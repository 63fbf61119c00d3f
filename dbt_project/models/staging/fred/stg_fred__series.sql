{%- set casts = {"described_date": "date", "last_updated_at": "timestamptz"} -%}
with

series as (

    select * from {{ source_or_empty("fred", "series") }} as loaded

),

named as (

    select
        coalesce(source_system, 'fred') as source_system,
        {{ blank_to_null("id") }} as series_id,
        {{ blank_to_null("title") }} as title,
        {{ blank_to_null("units") }} as unit,
        {{ blank_to_null("frequency") }} as frequency,
        {{ blank_to_null("seasonal_adjustment") }} as seasonal_adjustment,
        {{ blank_to_null("notes") }} as notes,
        load_id,
        file_name,
        realtime_start as described_date,
        last_updated as last_updated_at,
        loaded_at
    from series

),

final as (

    select
        source_system,
        series_id,
        title,
        unit,
        frequency,
        seasonal_adjustment,
        notes,
        load_id,
        file_name,
        {{ bad_casts(casts) }} as bad_casts,
        {{ cast_text("described_date", casts["described_date"]) }} as described_date,
        {{ cast_text("last_updated_at", casts["last_updated_at"]) }} as last_updated_at,
        loaded_at
    from named

)

select * from final
