{#- The columns that every event has, of whatever source and lane: `value` is a number, or `text_value` a text. -#}
{% macro event_columns() -%}
    {{ return([
        "event_key",
        "observation_key",
        "category",
        "source_table",
        "source_system",
        "event_publisher",
        "series_id",
        "unit",
        "description",
        "load_id",
        "file_name",
        "text_value",
        "attributes",
        "value",
        "log_epoch",
        "kafka_partition",
        "kafka_offset",
        "reference_date",
        "vintage_date",
        "vintage_end_date",
        "received_at",
        "loaded_at",
    ]) }}
{%- endmacro %}


{#- The publisher's vintage first, then the warehouse's own arrival, then the place in the log or in the lake. -#}
{% macro event_order() -%}
    vintage_date nulls first, loaded_at, log_epoch, kafka_partition, kafka_offset, file_name, event_key
{%- endmacro %}
