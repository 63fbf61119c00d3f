with

rates as (

    select * from {{ ref("int_reference_rates_changed") }}

),

final as (

    select
        event_key,
        observation_key,
        'ecb__reference_rates' as source_table,
        source_system,
        'ECB' as event_publisher,
        currency as series_id,
        value_text,
        currency || ' per EUR' as unit,
        'Euro foreign exchange reference rate of ' || currency as description,
        load_id,
        file_name,
        value,
        reference_date,
        vintage_date,
        null::date as vintage_end_date,
        loaded_at
    from rates

)

select * from final
