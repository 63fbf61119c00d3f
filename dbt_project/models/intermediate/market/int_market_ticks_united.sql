{#- The sources of the category `market_tick`, a line each: what came by the streaming lane, and what by the batch lane. -#}
{%- set streamed = [
    ref("stg_realtime__market_ticks"),
] -%}
{%- set batch = [
] -%}
{%- set columns = [
    "source_table",
    "source_system",
    "symbol",
    "trade_id",
    "load_id",
    "file_name",
    "attributes",
    "price",
    "size",
    "traded_at",
    "loaded_at",
] -%}
{%- set place = {
    "log_epoch": "smallint",
    "kafka_partition": "smallint",
    "kafka_offset": "bigint",
    "received_at": "timestamptz",
    "record_number": "bigint",
    "side": "text",
} -%}
{%- set streamed_columns = columns + ["side", "log_epoch", "kafka_partition", "kafka_offset", "received_at"] -%}
{%- set batch_columns = columns + ["record_number"] -%}
{%- set lake_place = ["file_name", "record_number::text"] -%}
with

united as (
    {{ unite(streamed, streamed_columns, place) }}
    {%- if batch %}
    union all
    {{ unite(batch, batch_columns, place) }}
    {%- endif %}
),

-- A streamed record's place in its log is its identity. A batch record's is its trade, and its place in the lake: the
-- trade may come again.
final as (

    select
        case
            when log_epoch is not null
                then 'market_tick:' || log_epoch || ':' || kafka_partition || ':' || kafka_offset
            when trade_id is not null
                then
                    {{ joined_key(["source_system", "symbol", "trade_id"] + lake_place) }}
            else {{ joined_key(lake_place) }}  -- noqa: structure.nested_case
        end as market_tick_key,
        {{ joined_key(["source_system", "symbol"]) }} as instrument_key,
        source_table,
        source_system,
        symbol,
        {{ trade_side("side") }} as side,
        trade_id,
        load_id,
        attributes,
        price,
        size,
        record_number,
        log_epoch,
        kafka_partition,
        kafka_offset,
        traded_at,
        received_at,
        loaded_at
    from united

)

select * from final
