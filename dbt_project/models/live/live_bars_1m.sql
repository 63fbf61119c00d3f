{{ config(alias="bars_1m") }}
with

feeds as (

    select * from {{ source("streaming", "feed") }}

),

-- The minutes of every day that has a tick, found from tick to tick in the index: a wrong clock costs a day, not the
-- centuries between. A reader's bounds on `bar_start_at` cut the minutes before any tick is read.
minutes as (

    select
        feeds.source_system,
        feeds.name as symbol,
        minute.bar_start_at
    from feeds
    cross join
        lateral (
            with recursive

            traded as (

                (
                    select ticks.timestamp as traded_at
                    from {{ source("streaming", "market_tick") }} as ticks
                    where ticks.symbol = feeds.name
                    order by ticks.timestamp asc
                    limit 1
                )
                union all
                select (
                    select ticks.timestamp
                    from {{ source("streaming", "market_tick") }} as ticks
                    where
                        ticks.symbol = feeds.name
                        and ticks.timestamp >= {{ day_of("traded.traded_at") }} + interval '1 day'
                    order by ticks.timestamp asc
                    limit 1
                ) as traded_at
                from traded
                where traded.traded_at is not null

            )

            select {{ day_of("traded_at") }} as day_start_at from traded
            where traded_at is not null
        ) as days
    cross join
        lateral generate_series(
            days.day_start_at,
            days.day_start_at + interval '1 day' - interval '1 minute',
            interval '1 minute'
        ) as minute (bar_start_at)
    where feeds.topic = 'market_tick'

),

-- `offset 0` keeps it a probe of the (symbol, timestamp) index for each minute, whatever the planner thinks of them.
ticks as (

    select
        minutes.source_system,
        minutes.symbol,
        minutes.bar_start_at,
        traded.*
    from minutes
    cross join lateral (
        select
            ticks.attributes ->> 'id' as trade_id,
            ticks.price,
            ticks.size,
            ticks.log_epoch,
            ticks.kafka_partition,
            ticks.kafka_offset,
            ticks.timestamp as traded_at,
            ticks.received_at
        from {{ source("streaming", "market_tick") }} as ticks
        where
            ticks.source_system = minutes.source_system
            and ticks.symbol = minutes.symbol
            and ticks.timestamp >= minutes.bar_start_at
            and ticks.timestamp < minutes.bar_start_at + interval '1 minute'
        offset 0
    ) as traded

),

-- A trade's time is the venue's own, so whenever it is sent again it falls into the same minute.
marked as (

    select
        *,
        {{ is_resent_tick(within="bar_start_at") }} as is_resent
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
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.trade_count,
        {{ is_final_bar("bars.bar_start_at", lower="tidemark.tidemark_at", upper="now()") }}
            as is_final,
        bars.bar_start_at
    from bars
    cross join tidemark

)

select * from final
