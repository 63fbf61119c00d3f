with

rates as (

    select * from {{ ref("int_reference_rates_changed") }}

),

final as (

    select
        event_key,
        observation_key,
        case
            when value is null then 'economic_event_text'
            else 'economic_event_numeric'
        end as category,
        source_table,
        source_system,
        'ECB' as event_publisher,
        currency as series_id,
        currency || ' per EUR' as unit,
        'Euro foreign exchange reference rate of ' || currency as description,
        load_id,
        file_name,
        case when value is null then value_text end as text_value,
        null::jsonb as attributes,
        value,
        null::smallint as log_epoch,
        null::smallint as kafka_partition,
        null::bigint as kafka_offset,
        reference_date,
        vintage_date,
        null::date as vintage_end_date,
        null::timestamptz as received_at,
        loaded_at
    from rates

)

select * from final
