{#- The columns that every event has, of whatever lane; `value` is a number or a text. -#}
{% macro event_columns() -%}
    {{ return([
        "event_key",
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
    {%- set record = "'" ~ topic ~ ":' || log_epoch || ':' || kafka_partition || ':' || kafka_offset" -%}
    select
        {{ record }} as event_key,
        source_system || ':' || coalesce(
            series_id || ':' || reference_date,
            source_event_id,
            {{ record }}
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
        parsed.fields ->> 'series_id' as series_id,
        parsed.fields ->> 'id' as source_event_id,
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


{#-
    What a batch source says about its observations that it did not say in the load before: a source that gives its
    history whole with every load adds a row only where a value is new or another. `arrived` holds observation_key,
    vintage_date, value_text, loaded_at and file_name of the new loads. `statement` counts from 1 within an observation
    and its vintage, and makes the readable key.
-#}
{% macro changed_statements(arrived) -%}
    with

    said as (

        {% if is_incremental() -%}
        select distinct on (observation_key, vintage_date)
            observation_key,
            vintage_date,
            value_text,
            statement
        from {{ this }}
        where observation_key in (select observation_key from {{ arrived }})
        order by observation_key asc, vintage_date asc, statement desc
        {%- else -%}
        select
            null::text as observation_key,
            null::date as vintage_date,
            null::text as value_text,
            null::bigint as statement
        where false
        {%- endif %}

    ),

    compared as (

        select
            arrived.*,
            coalesce(said.statement, 0) as statements_before,
            arrived.value_text is distinct from case
                when row_number() over loads = 1 then said.value_text
                else lag(arrived.value_text) over loads
            end as is_changed
        from {{ arrived }} as arrived
        left join said
            on
                arrived.observation_key = said.observation_key
                and arrived.vintage_date is not distinct from said.vintage_date
        window loads as (
            partition by arrived.observation_key, arrived.vintage_date
            order by arrived.loaded_at, arrived.file_name
        )

    ),

    counted as (

        select
            *,
            statements_before + row_number() over (
                partition by observation_key, vintage_date
                order by loaded_at, file_name
            ) as statement
        from compared
        where is_changed

    )

    select
        observation_key || coalesce(':' || vintage_date, '') || ':' || statement as event_key,
        counted.*
    from counted
{%- endmacro %}


{#-
    The events of a category in the order in which their publisher (vintage) and then the warehouse (load) came to know
    them. Every row stays. `is_repeat` says that it gives the value that the observation had already; `is_latest` is on
    one row of each observation: the newest that is no repeat. New rows can change the marks of rows that are here, so
    every observation that they touch is marked whole.
-#}
{% macro events_fact(united) -%}
{%- set columns = event_columns() | join(", ") -%}
with

arrived as (

    select
        {{ columns }},
        null::boolean as was_repeat,
        null::boolean as was_latest
    from {{ united }}
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}

),

gathered as (

    select * from arrived
    {% if is_incremental() %}
    union all
    select
        {{ columns }},
        is_repeat as was_repeat,
        is_latest as was_latest
    from {{ this }}
    where
        observation_key in (select observation_key from arrived)
        and event_key not in (select event_key from arrived)
    {% endif %}

),

marked as (

    select
        *,
        row_number() over history > 1 and value is not distinct from lag(value) over history as is_repeat
    from gathered
    window history as (partition by observation_key order by {{ event_order() }})

),

ranked as (

    select
        *,
        not is_repeat and row_number() over states = count(1) over (partition by observation_key, is_repeat) as is_latest
    from marked
    window states as (partition by observation_key, is_repeat order by {{ event_order() }})

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


{#-
    Whether a row's load is newer than the newest of its source table in `relation`: each source has loads of its own, and
    one that was slow is not passed over because another was quick. As literals, so that they reach the source's scan.
-#}
{% macro is_new_load(relation) -%}
    {%- set newest = run_query("select source_table, max(loaded_at)::text from " ~ relation ~ " group by source_table") -%}
    {%- for source_table, loaded_at in newest.rows %}
        (source_table = '{{ source_table }}' and loaded_at > '{{ loaded_at }}') or
    {%- endfor %}
        source_table <> all(array[{% for row in newest.rows %}'{{ row[0] }}'{{ ", " if not loop.last }}{% endfor %}]::text [])
{%- endmacro %}
