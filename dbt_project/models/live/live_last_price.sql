{{ config(alias="last_price") }}
with

feeds as (

    select * from {{ source("streaming", "feed") }}

),

-- One probe of the index for each symbol, however many ticks there are; in it the minute leads the time.
final as (

    select
        feeds.source_system,
        feeds.name as symbol,
        newest.price,
        newest.size,
        newest.timestamp as traded_at,
        newest.received_at
    from feeds
    cross join
        lateral (
            select
                ticks.price,
                ticks.size,
                ticks.timestamp,
                ticks.received_at
            from {{ source("streaming", "market_tick") }} as ticks
            where
                ticks.source_system = feeds.source_system
                and ticks.symbol = feeds.name
                and {{ is_not_ahead("ticks.received_at") }}
            order by
                {{ minute_of("ticks.timestamp") }} desc,
                ticks.timestamp desc,
                ticks.log_epoch desc,
                ticks.kafka_partition desc,
                ticks.kafka_offset desc
            limit 1
        ) as newest
    where feeds.topic = 'market_tick'

)

select * from final
