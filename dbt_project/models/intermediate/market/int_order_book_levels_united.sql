{%- set columns = [
    "source_table",
    "source_system",
    "symbol",
    "side",
    "snapshot_id",
    "load_id",
    "attributes",
    "level",
    "price",
    "size",
    "snapshot_size",
    "log_epoch",
    "kafka_partition",
    "kafka_offset",
    "book_at",
    "received_at",
    "loaded_at",
] -%}
with

-- The sources of the category `order_book_l2`, a line each.
united as (
    {{ unite([
        ref("stg_realtime__order_book_levels"),
    ], columns) }}
),

final as (

    select
        'order_book_l2:'
        || log_epoch
        || ':'
        || kafka_partition
        || ':'
        || kafka_offset as order_book_level_key,
        {{ joined_key(["source_system", "symbol"]) }} as instrument_key,
        united.*
    from united

)

select * from final
