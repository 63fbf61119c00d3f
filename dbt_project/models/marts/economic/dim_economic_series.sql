{{ config(unique_key="series_key") }}
with

descriptions as (

    select * from {{ ref("int_series_described") }}
    where is_current

),

events as (

    select * from {{ ref("fct_economic_events") }}
    where
        series_key is not null
        {% if is_incremental() %}
        and built_at > {{ newest(this, "events_built_at") }}
        {% endif %}

),

-- What is said of a series with its newest event stands in for a description that nobody gave.
told as (

    select distinct on (series_key)
        series_key,
        source_system,
        series_id,
        event_publisher,
        description as title,
        unit,
        max(built_at) over (partition by series_key) as events_built_at
    from events
    order by series_key asc, loaded_at desc, event_key desc

),

{% if is_incremental() -%}
known as (

    select
        series_key,
        source_system,
        series_id,
        event_publisher,
        event_title as title,
        event_unit as unit,
        events_built_at
    from {{ this }} as series
    where not exists (
            select 1 from told
            where told.series_key = series.series_key
        )

),

{% endif -%}
seen as (

    select * from told
    {% if is_incremental() %}
    union all
    select * from known
    {% endif %}

),

final as (

    select
        seen.series_key,
        seen.source_system,
        seen.series_id,
        seen.event_publisher,
        coalesce(descriptions.title, seen.title) as title,
        coalesce(descriptions.unit, seen.unit) as unit,
        descriptions.frequency,
        descriptions.seasonal_adjustment,
        descriptions.notes,
        seen.title as event_title,
        seen.unit as event_unit,
        coalesce(descriptions.unit_change_count, 0)::integer as unit_change_count,
        descriptions.series_key is not null as is_described,
        descriptions.effective_at,
        descriptions.known_at,
        seen.events_built_at
    from seen
    left join descriptions on seen.series_key = descriptions.series_key

)

select * from final
