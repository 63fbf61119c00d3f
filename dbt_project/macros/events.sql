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


{#-
    Staging of the topics of events: they differ in `value` alone, a double where `casts` names it, else text.
    `loaded` is the CTE of the ingestion table.
-#}
{% macro staged_events(loaded, casts) -%}
named as (

    select
        {{ blank_to_null(loaded ~ ".source_system") }} as source_system,
        {{ blank_to_null(loaded ~ ".event_publisher") }} as event_publisher,
        {{ blank_to_null(loaded ~ ".value") }} as value,
        {{ blank_to_null(loaded ~ ".unit") }} as unit,
        {{ blank_to_null(loaded ~ ".description") }} as description,
        {{ blank_to_null("(parsed.fields ->> 'series_id')") }} as series_id,
        {{ blank_to_null("(parsed.fields ->> 'id')") }} as source_event_id,
        {{ loaded }}.load_id,
        {{ loaded }}.file_name,
        {{ loaded }}.attributes,
        parsed.fields,
        {{ loaded }}.log_epoch,
        {{ loaded }}.kafka_partition,
        {{ loaded }}.kafka_offset,
        case when parsed.fields ? 'series_id' then parsed.fields ->> 'date' end as reference_date,
        case when parsed.fields ? 'series_id' then parsed.fields ->> 'realtime_start' end
            as vintage_date,
        case when parsed.fields ? 'series_id' then parsed.fields ->> 'realtime_end' end
            as vintage_end_date,
        {{ loaded }}.received_at,
        {{ loaded }}.loaded_at
    from {{ loaded }}
    -- Parsed once: without the offset the planner would repeat it for every field.
    cross join lateral (
        select {{ cast_text(loaded ~ ".attributes", casts["attributes"]) }} as fields offset 0
    ) as parsed

),

final as (

    select
        source_system,
        event_publisher,
        {% if "value" not in casts -%}
        value,
        {% endif -%}
        unit,
        description,
        series_id,
        source_event_id,
        load_id,
        file_name,
        fields as attributes,
        {% if "value" in casts -%}
        {{ cast_text("value", casts["value"]) }} as value,
        {% endif -%}
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
{%- endmacro %}


{#- The publisher's vintage first, then the warehouse's own arrival, then the place in the log or in the lake. -#}
{% macro event_order() -%}
    vintage_date nulls first, loaded_at, log_epoch, kafka_partition, kafka_offset, file_name, event_key
{%- endmacro %}
