with

rates as (

    select * from {{ ref("stg_ecb__reference_rates") }}

),

-- N/A and an empty cell say that the bank published no rate of the currency for the day: no event. A row whose date
-- could not be read is counted in int_bad_casts_counted.
final as (

    select
        source_system || ':' || currency || ':' || reference_date as observation_key,
        'ecb__reference_rates' as source_table,
        source_system,
        'ECB' as event_publisher,
        currency as series_id,
        rate_text as value_text,
        currency || ' per EUR' as unit,
        'Euro foreign exchange reference rate of ' || currency as description,
        load_id,
        file_name,
        rate as value,
        reference_date,
        null::date as vintage_date,
        null::date as vintage_end_date,
        loaded_at
    from rates
    where rate_text <> 'N/A' and reference_date is not null

)

select * from final
