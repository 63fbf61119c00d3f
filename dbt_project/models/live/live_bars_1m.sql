{{ config(alias="bars_1m") }}
with

-- All of it stands in the index (realtime/migrations), by symbol and minute: a reader's symbol and bounds on
-- `bar_start_at` reach it.
ticks as (

    select
        source_system,
        symbol,
        case when {{ is_named_trade("trade_key") }} then trade_key end as trade_key,
        price,
        size,
        log_epoch,
        kafka_partition,
        kafka_offset,
        {{ minute_of("timestamp") }} as bar_start_at,
        timestamp as traded_at,
        received_at
    from {{ source("streaming", "market_tick") }}
    where {{ is_not_ahead("received_at") }}

),

-- A trade that is sent again with a time of another minute is two here, and one in the warehouse: a search beyond the
-- minute would read all that is here of the symbol, for whatever minute is asked.
marked as (

    select
        *,
        {{ is_resent_tick(trade="trade_key", within="bar_start_at") }} as is_resent
    from ticks

),

counted as (

    select * from marked
    where not is_resent

),

bars as (

    {{ bars_1m("counted") }}

),

-- What arrived before it has left for the warehouse.
tidemark as (

    select coalesce((max(day) + 1)::timestamp at time zone 'UTC', '-infinity') as tidemark_at
    from {{ source("streaming", "trimmed") }}
    where topic = 'market_tick'

),

final as (

    select
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
        {{ is_final_bar("bars.bar_start_at", lower="tidemark.tidemark_at", upper="now()") }}
            as is_final,
        bars.bar_start_at
    from bars
    cross join tidemark

)

select * from final
