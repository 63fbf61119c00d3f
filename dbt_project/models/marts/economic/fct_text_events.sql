{{ config(materialized="view") }}
with

events as (

    select * from {{ ref("fct_economic_events") }}

),

final as (

    select
        event_key,
        observation_key,
        source_table,
        source_system,
        event_publisher,
        series_id,
        unit,
        description,
        load_id,
        file_name,
        attributes,
        text_value as value,
        log_epoch,
        kafka_partition,
        kafka_offset,
        is_repeat,
        is_latest,
        reference_date,
        vintage_date,
        vintage_end_date,
        received_at,
        loaded_at,
        built_at
    from events
    where topic = 'economic_event_text'

)

select * from final
