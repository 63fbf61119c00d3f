{%- set casts = {
    "attributes": "jsonb",
    "log_epoch": "smallint",
    "kafka_partition": "smallint",
    "kafka_offset": "bigint",
    "reference_date": "date",
    "vintage_date": "date",
    "vintage_end_date": "date",
    "received_at": "timestamptz",
} -%}
with

text_events as (

    select * from {{ source_or_empty("realtime", "economic_event_text") }} as loaded

),

{{ staged_events("text_events", casts) }}
