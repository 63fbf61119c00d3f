{%- set columns = [
    "source_system",
    "event_publisher",
    "series_id",
    "source_event_id",
    "unit",
    "description",
    "load_id",
    "file_name",
    "attributes",
    "log_epoch",
    "kafka_partition",
    "kafka_offset",
    "reference_date",
    "vintage_date",
    "vintage_end_date",
    "received_at",
    "loaded_at",
] | join(",\n        ") -%}
with

numbers as (

    select * from {{ ref("stg_realtime__numeric_events") }}
    where {{ rejection_of("stg_realtime__numeric_events") }} is null

),

texts as (

    select * from {{ ref("stg_realtime__text_events") }}
    where {{ rejection_of("stg_realtime__text_events") }} is null

),

events as (

    select
        'economic_event_numeric' as category,
        'realtime__economic_event_numeric' as source_table,
        {{ columns }},
        value,
        null as text_value
    from numbers
    union all
    select
        'economic_event_text' as category,
        'realtime__economic_event_text' as source_table,
        {{ columns }},
        null as value,
        value as text_value
    from texts

),

identified as (

    select
        *,
        category || ':' || log_epoch || ':' || kafka_partition || ':' || kafka_offset as event_key
    from events

),

-- What an event is about: a series and its date, an entry's id, or, where the source names neither, the record itself.
final as (

    select
        event_key,
        case
            when series_id is not null and reference_date is not null
                then {{ joined_key(["source_system", "series_id"]) }} || ':' || reference_date
            when source_event_id is not null
                then {{ joined_key(["source_system", "source_event_id"]) }}
            else {{ joined_key(["source_system"]) }} || ':' || event_key
        end as observation_key,
        category,
        source_table,
        {{ columns }},
        text_value,
        value
    from identified

)

select * from final
