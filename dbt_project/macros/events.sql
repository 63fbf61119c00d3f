{#- The columns that every event has, of whatever lane; `value` is a number or a text. -#}
{% macro event_columns() -%}
    {{ return([
        "observation_key",
        "source_table",
        "source_system",
        "event_publisher",
        "series_id",
        "unit",
        "description",
        "load_id",
        "file_name",
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


{#- Events of a batch source, which have no place in Kafka; `value` is the expression of the value. -#}
{% macro batch_events(relation, value, where) -%}
    select
        observation_key,
        source_table,
        source_system,
        event_publisher,
        series_id,
        unit,
        description,
        load_id,
        file_name,
        null::jsonb as attributes,
        {{ value }} as value,
        null::smallint as log_epoch,
        null::smallint as kafka_partition,
        null::bigint as kafka_offset,
        reference_date,
        vintage_date,
        vintage_end_date,
        null::timestamptz as received_at,
        loaded_at
    from {{ relation }}
    where {{ where }}
{%- endmacro %}


{#-
    Events that came by the streaming lane. What they are about: a series and its date, an entry's id, or, where the
    source names neither, the record itself.
-#}
{% macro streamed_events(relation, topic) -%}
    select
        source_system || ':' || coalesce(
            series_id || ':' || reference_date,
            source_event_id,
            '{{ topic }}:' || log_epoch || ':' || kafka_partition || ':' || kafka_offset
        ) as observation_key,
        'realtime__{{ topic }}' as source_table,
        source_system,
        event_publisher,
        series_id,
        unit,
        description,
        load_id,
        file_name,
        attributes,
        value,
        log_epoch,
        kafka_partition,
        kafka_offset,
        reference_date,
        vintage_date,
        vintage_end_date,
        received_at,
        loaded_at
    from {{ relation }}
{%- endmacro %}


{#-
    The events of a category over all loads, in the order in which their publisher (vintage) and then the warehouse
    (load) came to know them:
    - a batch row that says what the row before it of the same table, observation and vintage said is a reload of the
      same history, and no event;
    - every other row stays; `is_repeat` says that it gives the value that the observation had already;
    - `is_latest` is on one row of each observation: the newest that is no repeat.
    New rows can change the marks of rows that are here, so every observation that they touch is computed whole.
-#}
{% macro events_fact(united, topic) -%}
{%- set columns = event_columns() | join(", ") -%}
with

united as (

    select * from {{ united }}

),

{% if is_incremental() -%}
loads as (

    select
        source_table,
        max(loaded_at) as loaded_at
    from {{ this }}
    group by source_table

),

{% endif -%}
arrived as (

    select
        united.*,
        null::text as event_key,
        null::boolean as was_repeat,
        null::boolean as was_latest
    from united
    {% if is_incremental() %}
    left join loads on united.source_table = loads.source_table
    where united.loaded_at > coalesce(loads.loaded_at, '-infinity')
    {% endif %}

),

gathered as (

    select {{ columns }}, event_key, was_repeat, was_latest
    from arrived
    {% if is_incremental() %}
    union all
    select {{ columns }}, event_key, is_repeat as was_repeat, is_latest as was_latest
    from {{ this }}
    where observation_key in (select observation_key from arrived)
    {% endif %}

),

compared as (

    select
        *,
        row_number() over reloads = 1 or value is distinct from lag(value) over reloads as is_changed
    from gathered
    window reloads as (
        partition by source_table, observation_key, vintage_date
        order by loaded_at, file_name, event_key
    )

),

stated as (

    select
        *,
        row_number() over (
            partition by source_table, observation_key, vintage_date
            order by loaded_at, file_name, event_key
        ) as statement
    from compared
    where is_changed or kafka_offset is not null

),

marked as (

    select
        *,
        row_number() over history > 1 and value is not distinct from lag(value) over history as is_repeat
    from stated
    window history as (partition by observation_key order by {{ event_order() }})

),

ranked as (

    select
        *,
        not is_repeat and lead(is_repeat, 1, true) over states as is_latest
    from marked
    window states as (partition by observation_key, is_repeat order by {{ event_order() }})

),

final as (

    select
        coalesce(
            event_key,
            '{{ topic }}:' || log_epoch || ':' || kafka_partition || ':' || kafka_offset,
            observation_key || coalesce(':' || vintage_date, '') || ':' || statement
        ) as event_key,
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
        value,
        log_epoch,
        kafka_partition,
        kafka_offset,
        is_repeat,
        is_latest,
        reference_date,
        vintage_date,
        vintage_end_date,
        received_at,
        loaded_at
    from ranked
    where (was_repeat, was_latest) is distinct from (is_repeat, is_latest)

)

select * from final
{%- endmacro %}


{#- The publisher's vintage first, then the warehouse's own arrival, then the place in the log or in the lake. -#}
{% macro event_order() -%}
    vintage_date nulls first, loaded_at, log_epoch, kafka_partition, kafka_offset, file_name, event_key
{%- endmacro %}
