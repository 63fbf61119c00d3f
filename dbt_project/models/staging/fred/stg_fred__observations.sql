{%- set casts = {"reference_date": "date", "vintage_date": "date", "vintage_end_date": "date"} -%}
with

observations as (

    select * from {{ source_or_empty("fred", "observations") }} as loaded

),

named as (

    select
        coalesce(source_system, 'fred') as source_system,
        {{ blank_to_null("series_id") }} as series_id,
        {{ blank_to_null("value") }} as value_text,
        load_id,
        file_name,
        date as reference_date,
        realtime_start as vintage_date,
        realtime_end as vintage_end_date,
        loaded_at
    from observations

),

final as (

    select
        'fred__observations' as source_table,
        source_system,
        series_id,
        value_text,
        load_id,
        file_name,
        {{ finite_number("value_text") }} as value,
        {{ bad_casts(casts) }} as bad_casts,
        {{ cast_text("reference_date", casts["reference_date"]) }} as reference_date,
        {{ cast_text("vintage_date", casts["vintage_date"]) }} as vintage_date,
        {{ cast_text("vintage_end_date", casts["vintage_end_date"]) }} as vintage_end_date,
        loaded_at
    from named

)

select * from final
