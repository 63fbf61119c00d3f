{{ config(alias="events") }}
with

numbers as (

    select
        *,
        value as number_value,
        null::text as text_value
    from {{ source("streaming", "economic_event_numeric") }}

),

texts as (

    select
        *,
        null::double precision as number_value,
        value as text_value
    from {{ source("streaming", "economic_event_text") }}

),

gathered as (
    {%- set of_topics = {"economic_event_numeric": "numbers", "economic_event_text": "texts"} %}
    {%- for topic, name in of_topics.items() %}

    select
        '{{ topic }}:' || log_epoch || ':' || kafka_partition || ':' || kafka_offset as event_key,
        '{{ topic }}' as topic,
        source_system,
        event_publisher,
        {{ blank_to_null("(attributes ->> 'series_id')") }} as series_id,
        unit,
        description,
        text_value,
        attributes,
        number_value as value,
        log_epoch,
        kafka_partition,
        kafka_offset,
        case when attributes ? 'series_id' then attributes ->> 'date' end as reference_text,
        case when attributes ? 'series_id' then attributes ->> 'realtime_start' end as vintage_text,
        received_at
    from {{ name }}
    {{ "union all" if not loop.last }}
    {%- endfor %}

),

-- What the rule of an event's availability asks of a batch source, a streamed event has not.
named as (

    select
        *,
        null::text as source_table,
        null::text as observation_key,
        {{ cast_text("reference_text", "date") }} as reference_date,
        {{ cast_text("vintage_text", "date") }} as vintage_date,
        null::timestamptz as loaded_at
    from gathered

),

final as (

    select
        event_key,
        topic,
        source_system,
        event_publisher,
        series_id,
        unit,
        description,
        text_value,
        attributes,
        value,
        log_epoch,
        kafka_partition,
        kafka_offset,
        reference_date,
        vintage_date,
        {{ available_at() }} as available_at,
        received_at
    from named

)

select * from final
