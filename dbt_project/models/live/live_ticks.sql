{{ config(alias="ticks") }}
-- No `with`: a view that begins so is planned apart from the query that asks it, and its order would not come of the
-- index. In that the minute, which says nothing that the time does not, leads the time: bounds on both reach it.
select
    'market_tick:' || log_epoch || ':' || kafka_partition || ':' || kafka_offset as market_tick_key,
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
