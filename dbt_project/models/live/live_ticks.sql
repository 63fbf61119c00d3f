{{ config(alias="ticks") }}
with

-- The minute, which says nothing that the time does not, leads the time in the index: bounds on both reach it.
final as (

    select
        'market_tick:' || log_epoch || ':' || kafka_partition || ':' || kafka_offset
            as market_tick_key,
        source_system,
        symbol,
        {{ trade_side(blank_to_null("(attributes ->> 'side')")) }} as side,
        {{ blank_to_null("(attributes ->> 'id')") }} as trade_id,
        attributes,
        price,
        size,
        log_epoch,
        kafka_partition,
        kafka_offset,
        {{ minute_of("timestamp") }} as minute_start_at,
        timestamp as traded_at,
        received_at
    from {{ source("streaming", "market_tick") }}
    where {{ is_not_ahead("received_at") }}

)

select * from final
