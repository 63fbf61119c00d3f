{{
    config(
        unique_key="observation_vintage_key",
        meta={"gone_where": "available_at is null"},
        indexes=[
            {"columns": ["observation_key"]},
            {"columns": ["series_key", "reference_date", "available_at"]},
            {"columns": ["built_at"]},
        ],
    )
}}
with

events as not materialized (

    select * from {{ ref("fct_economic_events") }}
    where series_id is not null and reference_date is not null

),

{% if is_incremental() -%}
-- An observation that got an event, or of which a mark changed, is derived whole again.
touched as (

    select distinct observation_key from events
    where built_at > {{ newest(this, "built_at") }}
    order by observation_key

),

of_touched as (

    select same.*
    from touched
    cross join
        lateral (
            select * from events
            where events.observation_key = touched.observation_key
            offset 0
        ) as same

),

{% endif -%}
placed as (

    select
        observation_key,
        event_key,
        series_key,
        source_system,
        series_id,
        unit,
        value,
        reference_date,
        vintage_date,
        case when log_epoch is null then vintage_end_date end as vintage_end_date,
        loaded_at,
        available_at,
        availability_precision,
        row_number() over (
            partition by observation_key order by {{ event_order() }}
        ) as place,
        max(built_at) over (partition by observation_key) as built_at
    from {{ "of_touched" if is_incremental() else "events" }}

),

-- Of what one day says the last counts, and it counts from when it was said first.
dated as (

    select
        *,
        coalesce(vintage_date, (available_at at time zone 'UTC')::date) as known_date,
        row_number() over same_day = count(1) over (
            partition by
                observation_key, coalesce(vintage_date, (available_at at time zone 'UTC')::date)
        ) as is_last_of_day,
        first_value(available_at) over same_value as first_available_at,
        first_value(availability_precision) over same_value as first_precision
    from placed
    window
        same_day as (
            partition by
                observation_key, coalesce(vintage_date, (available_at at time zone 'UTC')::date)
            order by place
        ),
        same_value as (
            partition by
                observation_key,
                coalesce(vintage_date, (available_at at time zone 'UTC')::date),
                value
            order by available_at, place
        )

),

-- A vintage is a value that is another than the one before; no value is one only where there was a value.
compared as (

    select
        *,
        lag(value) over history as value_before
    from dated
    where is_last_of_day
    window history as (partition by observation_key order by known_date)

),

runs as (

    select
        *,
        coalesce(value is distinct from value_before, false) as is_changed,
        count(1) filter (where value is distinct from value_before) over (
            partition by observation_key order by known_date
        ) as vintage_number
    from compared

),

-- The newest statement of a value says whether it ended without another.
ended as (

    select
        *,
        last_value(vintage_end_date) over (
            partition by observation_key, vintage_number
            order by known_date
            rows between unbounded preceding and unbounded following
        ) as ended_date
    from runs

),

vintages as (

    select
        *,
        least(
            lead(first_available_at) over (partition by observation_key order by known_date),
            {{ end_of_day("ended_date + 1") }}
        ) as superseded_at
    from ended
    where is_changed

),

derived as (

    select
        observation_key || ':' || known_date as observation_vintage_key,
        observation_key,
        event_key,
        series_key,
        source_system,
        series_id,
        unit,
        first_precision as availability_precision,
        value,
        vintage_number::integer as vintage_number,
        value is null as is_withdrawn,
        superseded_at is null as is_latest,
        reference_date,
        known_date as vintage_date,
        first_available_at as available_at,
        superseded_at,
        loaded_at,
        -- Of the events, not of this build: a run of somebody else may have written some that this one did not see.
        built_at
    from vintages

),

{% if is_incremental() -%}
-- What was a vintage, and is none since an earlier one was loaded.
gone as (

    select was.*
    from touched
    cross join
        lateral (
            select
                observations.observation_vintage_key,
                observations.observation_key
            from {{ this }} as observations
            where observations.observation_key = touched.observation_key
            offset 0
        ) as was
    where not exists (
            select 1 from derived
            where derived.observation_vintage_key = was.observation_vintage_key
        )

),

{% endif -%}
final as (

    select * from derived
    {% if is_incremental() %}
    union all
    select
        observation_vintage_key,
        observation_key,
        null as event_key,
        null as series_key,
        null as source_system,
        null as series_id,
        null as unit,
        null as availability_precision,
        null as value,
        null as vintage_number,
        null as is_withdrawn,
        null as is_latest,
        null as reference_date,
        null as vintage_date,
        null as available_at,
        null as superseded_at,
        null as loaded_at,
        null as built_at
    from gone
    {% endif %}

)

select * from final
