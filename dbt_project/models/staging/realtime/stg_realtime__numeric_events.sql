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

{{ staged_events("numeric_events", casts) }}
