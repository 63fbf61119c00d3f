{%- set columns = [
    "source_system",
    "symbol",
    "trade_id",
    "load_id",
    "attributes",
    "price",
    "size",
    "log_epoch",
    "kafka_partition",
    "kafka_offset",
    "traded_at",
    "received_at",
    "loaded_at",
] -%}
with

-- The sources of the category `market_tick`, a line each.
united as (
    {{ unite([
        ref("stg_realtime__market_ticks"),
    ], columns) }}
),

final as (

    select
        'market_tick:'
        || log_epoch
        || ':'
        || kafka_partition
        || ':'
        || kafka_offset as market_tick_key,
        source_system || ':' || symbol as symbol_key,
        united.*
    from united

)

select * from final
