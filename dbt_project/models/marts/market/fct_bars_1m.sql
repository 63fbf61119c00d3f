{{
    config(
        unique_key="bar_key",
        indexes=[
            {"columns": ["symbol", "bar_start_at"]},
            {"columns": ["loaded_at"]},
        ],
    )
}}
with

ticks as (

    select * from {{ ref("fct_market_ticks") }}

),

{% if is_incremental() -%}
arrived as (

    select * from ticks
    where loaded_at > (select coalesce(max(loaded_at), '-infinity') from {{ this }})

),

-- A bar is computed whole again when its minute got a tick, when one of its ticks turned out to be re-sent,
-- or while it is not final.
touched as (

    select
        source_system,
        symbol,
        {{ minute_of("traded_at") }} as bar_start_at
    from arrived
    union
    select
        resent.source_system,
        resent.symbol,
        {{ minute_of("resent.traded_at") }} as bar_start_at
    from ticks as resent
    inner join arrived using (source_system, symbol, trade_id)
    where resent.is_resent
    union
    select
        source_system,
        symbol,
        bar_start_at
    from {{ this }}
    where not is_final

),

{% endif -%}
counted as (

    select
        ticks.*,
        {{ minute_of("ticks.traded_at") }} as bar_start_at
    from ticks
    {% if is_incremental() %}
    inner join touched
        on
            ticks.source_system = touched.source_system
            and ticks.symbol = touched.symbol
            -- The equality is for many minutes, the range for the index and few of them.
            and {{ minute_of("ticks.traded_at") }} = touched.bar_start_at
            and ticks.traded_at >= touched.bar_start_at
            and ticks.traded_at < touched.bar_start_at + interval '1 minute'
    {% endif %}
    where not ticks.is_resent and ticks.traded_at is not null

),

bars as (

    {{ bars_1m("counted", also={"loaded_at": "max(loaded_at)"}) }}

),

-- Everything that arrived before it is in the warehouse: days leave `realtime` whole.
tidemark as (

    select date_trunc('day', max(received_at), 'UTC') + interval '1 day' as tidemark_at
    from ticks

),

final as (

    select
        bars.source_system || ':' || bars.symbol || ':'
        || to_char(bars.bar_start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') as bar_key,
        bars.source_system || ':' || bars.symbol as symbol_key,
        bars.source_system,
        bars.symbol,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.trade_count,
        {{ is_final_bar("bars.bar_start_at", upper="tidemark.tidemark_at") }} as is_final,
        bars.bar_start_at,
        bars.loaded_at
    from bars
    cross join tidemark

)

select * from final
