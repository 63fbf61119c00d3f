{{
    config(
        unique_key="bar_key",
        meta={"gone_where": "trade_count = 0"},
        post_hook="{{ make_bars_across() }}",
        indexes=[
            {"columns": ["instrument_key", "bar_start_at"]},
            {"columns": ["built_at"]},
            {"columns": ["is_final"]},
        ],
    )
}}
{#- What `marts.bars_across` reads beside ticks, deleted days and bars: every run that builds these builds it too. -#}
{%- do ref("dim_venues_history") -%}
{{- refuse_without_ticks(ref("fct_deleted_tick_days")) -}}
with

ticks as not materialized (

    select * from {{ ref("fct_market_ticks") }}

),

tidemark as (

    {{ tidemark_of("ticks") }}

),

{% if is_incremental() -%}
-- A bar is computed whole again when its minute got a tick, when one of its ticks turned out to be re-sent,
-- or when it has become final.
touched as (

    select
        instrument_key,
        {{ minute_of("traded_at") }} as bar_start_at
    from ticks
    where
        built_at > {{ newest(this, "built_at") }}
        and traded_at is not null
        -- A day whose ticks were deleted has the bars that it had.
        and {{
            has_its_ticks(ref("fct_deleted_tick_days"), "ticks.instrument_key", day_of("ticks.traded_at"))
        }}
    union
    select
        bars.instrument_key,
        bars.bar_start_at
    from {{ this }} as bars
    cross join tidemark
    where
        not bars.is_final
        and {{ is_final_bar("bars.bar_start_at", upper="tidemark.tidemark_at") }}
    order by instrument_key, bar_start_at

),

{% endif -%}
-- Without the offset the planner may read the whole table instead of asking its index for each minute.
counted as (

    select
        ticks.*,
        {{ minute_of("ticks.traded_at") }} as bar_start_at
    {% if is_incremental() %}
    from touched
    cross join
        lateral (
            select here.* from ticks as here
            where
                here.instrument_key = touched.instrument_key
                and here.traded_at >= touched.bar_start_at
                and here.traded_at < touched.bar_start_at + interval '1 minute'
            offset 0
        ) as ticks
    {% else %}
    from ticks
    {% endif %}
    where ticks.traded_at is not null

),

bars as (

    {{
        bars_1m(
            "counted",
            also={
                "is_of_batch": "bool_and(received_at is null)",
                "loaded_at": "max(loaded_at)",
                "built_at": "max(built_at)",
            },
            then=["loaded_at", "load_id", "record_number", "market_tick_key"],
            counts=is_counted_tick(),
        )
    }}

),

final as (

    select
        {{ joined_key(["bars.source_system", "bars.symbol"]) }} || ':'
        || to_char(bars.bar_start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') as bar_key,
        {{ joined_key(["bars.source_system", "bars.symbol"]) }} as instrument_key,
        bars.source_system,
        bars.symbol,
        bars.volume_unit,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.vwap,
        bars.volume,
        bars.quote_volume,
        bars.trade_count,
        bars.is_of_batch,
        bars.is_of_batch
        or coalesce({{ is_final_bar("bars.bar_start_at", upper="tidemark.tidemark_at") }}, false)
            as is_final,
        bars.bar_start_at,
        bars.loaded_at,
        bars.built_at
    from bars
    cross join tidemark
    {% if not is_incremental() %}
    where bars.trade_count > 0
    {% endif %}

)

select * from final
