{%- set casts = {
    "attributes": "jsonb",
    "value": "double precision",
    "log_epoch": "smallint",
    "kafka_partition": "smallint",
    "kafka_offset": "bigint",
    "reference_date": "date",
    "vintage_date": "date",
    "vintage_end_date": "date",
    "received_at": "timestamptz",
} -%}
with

numeric_events as (

    select * from {{ source_or_empty("realtime", "economic_event_numeric") }} as loaded

),

named as (

    select
        {{ blank_to_null("numeric_events.source_system") }} as source_system,
        {{ blank_to_null("numeric_events.event_publisher") }} as event_publisher,
        {{ blank_to_null("numeric_events.value") }} as value,
        {{ blank_to_null("numeric_events.unit") }} as unit,
        {{ blank_to_null("numeric_events.description") }} as description,
        {{ blank_to_null("(parsed.fields ->> 'series_id')") }} as series_id,
        {{ blank_to_null("(parsed.fields ->> 'id')") }} as source_event_id,
        numeric_events.load_id,
        numeric_events.file_name,
        numeric_events.attributes,
        parsed.fields,
        numeric_events.log_epoch,
        numeric_events.kafka_partition,
        numeric_events.kafka_offset,
        case when parsed.fields ? 'series_id' then parsed.fields ->> 'date' end as reference_date,
        case when parsed.fields ? 'series_id' then parsed.fields ->> 'realtime_start' end
            as vintage_date,
        case when parsed.fields ? 'series_id' then parsed.fields ->> 'realtime_end' end
            as vintage_end_date,
        numeric_events.received_at,
        numeric_events.loaded_at
    from numeric_events
    -- Parsed once: without the offset the planner would repeat it for every field.
    cross join lateral (
        select {{ cast_text("numeric_events.attributes", casts["attributes"]) }} as fields offset 0
    ) as parsed

),

final as (

    select
        source_system,
        event_publisher,
        unit,
        description,
        series_id,
        source_event_id,
        load_id,
        file_name,
        fields as attributes,
        {{ cast_text("value", casts["value"]) }} as value,
        {{ cast_text("log_epoch", casts["log_epoch"]) }} as log_epoch,
        {{ cast_text("kafka_partition", casts["kafka_partition"]) }} as kafka_partition,
        {{ cast_text("kafka_offset", casts["kafka_offset"]) }} as kafka_offset,
        {{ bad_casts(casts) }} as bad_casts,
        {{ cast_text("reference_date", casts["reference_date"]) }} as reference_date,
        {{ cast_text("vintage_date", casts["vintage_date"]) }} as vintage_date,
        {{ cast_text("vintage_end_date", casts["vintage_end_date"]) }} as vintage_end_date,
        {{ cast_text("received_at", casts["received_at"]) }} as received_at,
        loaded_at
    from named

)

select * from final
