{%- set casts = {
    "attributes": "jsonb",
    "price": "double precision",
    "size": "double precision",
    "log_epoch": "smallint",
    "kafka_partition": "smallint",
    "kafka_offset": "bigint",
    "traded_at": "timestamptz",
    "received_at": "timestamptz",
} -%}
with

market_ticks as (

    select * from {{ source_or_empty("realtime", "market_tick") }} as loaded

),

named as (

    select
        {{ blank_to_null("market_ticks.source_system") }} as source_system,
        {{ blank_to_null("market_ticks.symbol") }} as symbol,
        {{ blank_to_null("(parsed.fields ->> 'id')") }} as trade_id,
        {{ blank_to_null("(parsed.fields ->> 'side')") }} as side,
        market_ticks.load_id,
        market_ticks.file_name,
        market_ticks.attributes,
        parsed.fields,
        market_ticks.price,
        market_ticks.size,
        market_ticks.log_epoch,
        market_ticks.kafka_partition,
        market_ticks.kafka_offset,
        market_ticks.timestamp as traded_at,
        market_ticks.received_at,
        market_ticks.loaded_at
    from market_ticks
    -- Parsed once: without the offset the planner would repeat it for every field.
    cross join lateral (
        select {{ cast_text("market_ticks.attributes", casts["attributes"]) }} as fields offset 0
    ) as parsed

),

final as (

    select
        'realtime__market_tick' as source_table,
        source_system,
        symbol,
        trade_id,
        side,
        load_id,
        file_name,
        fields as attributes,
        {{ cast_text("price", casts["price"]) }} as price,
        {{ cast_text("size", casts["size"]) }} as size,
        {{ cast_text("log_epoch", casts["log_epoch"]) }} as log_epoch,
        {{ cast_text("kafka_partition", casts["kafka_partition"]) }} as kafka_partition,
        {{ cast_text("kafka_offset", casts["kafka_offset"]) }} as kafka_offset,
        {{ bad_casts(casts) }} as bad_casts,
        {{ cast_text("traded_at", casts["traded_at"]) }} as traded_at,
        {{ cast_text("received_at", casts["received_at"]) }} as received_at,
        loaded_at
    from named

)

select * from final
