{{
    config(
        unique_key="bar_key",
        meta={"gone_where": "trade_count = 0"},
        indexes=[
            {"columns": ["instrument_key", "session_date"]},
            {"columns": ["session_date"]},
            {"columns": ["built_at"]},
            {"columns": ["is_final"]},
        ],
    )
}}
{{- refuse_without_ticks(ref("int_tick_days_deleted")) -}}
{%- set session_end_at = "max(" ~ session_start("session_date + 1", "dated") ~ ")" -%}
with

ticks as not materialized (

    select * from {{ ref("fct_market_ticks") }}

),

minutes as not materialized (

    select * from {{ ref("fct_bars_1m") }}

),

venues as (

    select * from {{ ref("int_venues_described") }}

),

tidemark as (

    {{ tidemark_of("ticks") }}

),

{% if is_incremental() -%}
-- By the ticks: a minute whose only trade turned out to be re-sent is no row that could say so.
touched_minutes as (

    select distinct
        instrument_key,
        source_system,
        {{ minute_of("traded_at") }} as touched_at
    from ticks
    where built_at > {{ newest(this, "built_at") }} and traded_at is not null

),

touched_sessions as (

    select
        touched_minutes.instrument_key,
        {{ session_date("touched_minutes.touched_at", "venues") }} as session_date,
        venues.time_zone,
        venues.session_shift
    from touched_minutes
    left join venues
        on
            touched_minutes.source_system = venues.source_system
            and {{ is_effective("venues", "touched_minutes.touched_at") }}

),

touched as (

    select
        instrument_key,
        session_date,
        min({{ session_start("session_date", "touched_sessions") }}) as from_at,
        max({{ session_start("session_date + 1", "touched_sessions") }}) as to_at
    from touched_sessions
    group by instrument_key, session_date
    union
    select
        instrument_key,
        session_date,
        bar_start_at as from_at,
        bar_end_at as to_at
    from {{ this }} as bars
    cross join tidemark
    where
        not is_final
        and {{ is_final_bar(none, upper="tidemark_at", bar_end_at="bar_end_at") }}
    order by instrument_key, session_date

),

{% endif -%}
gathered as (

    {% if is_incremental() %}
    select distinct on (touched.instrument_key, touched.session_date, minutes.bar_start_at)
        touched.instrument_key as of_instrument_key,
        touched.session_date as of_session_date,
        minutes.*
    from touched
    left join
        lateral (
            select here.* from minutes as here
            where
                here.instrument_key = touched.instrument_key
                and here.bar_start_at >= touched.from_at
                and here.bar_start_at < touched.to_at
            offset 0
        ) as minutes
        on true
    order by touched.instrument_key, touched.session_date, minutes.bar_start_at
    {% else %}
    select
        minutes.instrument_key as of_instrument_key,
        null::date as of_session_date,
        minutes.*
    from minutes
    {% endif %}

),

dated as (

    select
        gathered.*,
        {{ session_date("gathered.bar_start_at", "venues") }} as session_date,
        venues.time_zone,
        venues.session_shift
    from gathered
    left join venues
        on
            gathered.source_system = venues.source_system
            and {{ is_effective("venues", "gathered.bar_start_at") }}

),

final as (

    select
        of_instrument_key || ':' || coalesce(session_date, of_session_date) as bar_key,
        of_instrument_key as instrument_key,
        {{ rolled_up_bars(bar_end_at=session_end_at) }},
        coalesce(session_date, of_session_date) as session_date,
        min({{ session_start("session_date", "dated") }}) as bar_start_at,
        {{ session_end_at }} as bar_end_at,
        max(loaded_at) as loaded_at,
        max(built_at) as built_at
    from dated
    cross join tidemark
    where session_date = coalesce(of_session_date, session_date) or instrument_key is null
    group by of_instrument_key, coalesce(session_date, of_session_date)

)

select * from final
