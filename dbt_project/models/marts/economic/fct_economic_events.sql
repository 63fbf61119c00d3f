{{
    config(
        unique_key="event_key",
        merge_update_columns=["loaded_at", "is_repeat", "is_latest", "built_at"],
        indexes=[
            {"columns": ["observation_key"]},
            {"columns": ["source_table", "loaded_at"]},
            {"columns": ["topic", "received_at"]},
            {"columns": ["event_publisher", "available_at"]},
            {"columns": ["series_key", "available_at"]},
            {"columns": ["built_at"]},
        ],
    )
}}
{%- set columns = event_columns() | reject("equalto", "category") | join(",\n        ") -%}
with

arrived as (

    select
        category as topic,
        {{ columns }},
        null::boolean as was_repeat,
        null::boolean as was_latest
    from {{ ref("int_events_united") }}
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}

),

{% if is_incremental() -%}
-- In the order of the index, which is asked for each.
touched as (

    select distinct observation_key from arrived
    order by observation_key

),

-- New rows can change the marks of rows that are here, so every observation that they touch is marked whole. Without
-- the offset the planner may read the whole table instead.
here as (

    select same.*
    from touched
    cross join
        lateral (
            select
                topic,
                {{ columns }},
                is_repeat as was_repeat,
                is_latest as was_latest
            from {{ this }} as events
            where events.observation_key = touched.observation_key
            offset 0
        ) as same
    where not exists (
            select 1 from arrived
            where arrived.event_key = same.event_key
        )

),

{% endif -%}
gathered as (

    select * from arrived
    {% if is_incremental() %}
    union all
    select * from here
    {% endif %}

),

-- In the order in which their publisher (vintage) and then the warehouse (load) came to know them.
marked as (

    select
        *,
        coalesce(
            topic = lag(topic) over history
            and value is not distinct from lag(value) over history
            and text_value is not distinct from lag(text_value) over history
            -- A publication is corrected in its text under the same headline.
            and (
                text_value is null
                or description is not distinct from lag(description) over history
            ),
            false
        ) as is_repeat
    from gathered
    window history as (partition by observation_key order by {{ event_order() }})

),

ranked as (

    select
        *,
        not is_repeat
        and row_number() over states = count(1) over (partition by observation_key, is_repeat)
            as is_latest
    from marked
    window states as (partition by observation_key, is_repeat order by {{ event_order() }})

),

final as (

    select
        event_key,
        observation_key,
        case
            when series_id is not null
                then {{ joined_key(["source_system", "series_id"]) }}
        end as series_key,
        topic,
        source_table,
        source_system,
        event_publisher,
        series_id,
        unit,
        description,
        load_id,
        file_name,
        text_value,
        {{ availability_precision() }} as availability_precision,
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
        {{ available_at() }} as available_at,
        received_at,
        loaded_at,
        now() as built_at
    from ranked
    where (was_repeat, was_latest) is distinct from (is_repeat, is_latest)

)

select * from final
