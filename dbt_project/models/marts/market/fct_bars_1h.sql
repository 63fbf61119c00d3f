{{
    config(
        unique_key="bar_key",
        meta={"gone_where": "trade_count = 0"},
        indexes=[
            {"columns": ["instrument_key", "bar_start_at"]},
            {"columns": ["built_at"]},
            {"columns": ["is_final"]},
        ],
    )
}}
{{- refuse_without_ticks(ref("int_tick_days_deleted")) -}}
{%- set bar_end_at = "bar_start_at + interval '1 hour'" -%}
with

ticks as not materialized (

    select * from {{ ref("fct_market_ticks") }}

),

minutes as not materialized (

    select * from {{ ref("fct_bars_1m") }}

),

tidemark as (

    {{ tidemark_of("ticks") }}

),

{% if is_incremental() -%}
-- By the ticks: a minute whose only trade turned out to be re-sent is no row that could say so.
touched as (

    select
        instrument_key,
        date_bin('1 hour', traded_at, 'epoch') as bar_start_at
    from ticks
    where built_at > {{ newest(this, "built_at") }} and traded_at is not null
    union
    select
        instrument_key,
        bar_start_at
    from {{ this }} as bars
    cross join tidemark
    where
        not is_final
        and {{ is_final_bar(none, upper="tidemark_at", bar_end_at=bar_end_at) }}
    order by instrument_key, bar_start_at

),

{% endif -%}
gathered as (

    {% if is_incremental() %}
    select
        touched.instrument_key as of_instrument_key,
        touched.bar_start_at as hour_start_at,
        minutes.*
    from touched
    left join
        lateral (
            select here.* from minutes as here
            where
                here.instrument_key = touched.instrument_key
                and here.bar_start_at >= touched.bar_start_at
                and here.bar_start_at < touched.bar_start_at + interval '1 hour'
            offset 0
        ) as minutes
        on true
    {% else %}
    select
        instrument_key as of_instrument_key,
        date_bin('1 hour', bar_start_at, 'epoch') as hour_start_at,
        minutes.*
    from minutes
    {% endif %}

),

final as (

    select
        of_instrument_key || ':'
        || to_char(hour_start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') as bar_key,
        of_instrument_key as instrument_key,
        {{ rolled_up_bars(bar_end_at="hour_start_at + interval '1 hour'") }},
        hour_start_at as bar_start_at,
        max(loaded_at) as loaded_at,
        max(built_at) as built_at
    from gathered
    cross join tidemark
    group by of_instrument_key, hour_start_at

)

select * from final
