{%- set casts = {
    "attributes": "jsonb",
    "level": "smallint",
    "price": "double precision",
    "size": "double precision",
    "snapshot_size": "integer",
    "log_epoch": "smallint",
    "kafka_partition": "smallint",
    "kafka_offset": "bigint",
    "book_at": "timestamptz",
    "received_at": "timestamptz",
} -%}
with

order_book_levels as (

    select * from {{ source_or_empty("realtime", "order_book_l2") }} as loaded

),

named as (

    select
        {{ blank_to_null("order_book_levels.source_system") }} as source_system,
        {{ blank_to_null("order_book_levels.symbol") }} as symbol,
        {{ blank_to_null("order_book_levels.side") }} as side,
        {{ blank_to_null("(parsed.fields ->> 'snapshot_id')") }} as snapshot_id,
        order_book_levels.load_id,
        order_book_levels.file_name,
        order_book_levels.attributes,
        parsed.fields,
        order_book_levels.level,
        order_book_levels.price,
        order_book_levels.size,
        parsed.fields ->> 'snapshot_size' as snapshot_size,
        order_book_levels.log_epoch,
        order_book_levels.kafka_partition,
        order_book_levels.kafka_offset,
        parsed.fields ->> 'timestamp' as book_at,
        order_book_levels.received_at,
        order_book_levels.loaded_at
    from order_book_levels
    -- Parsed once: without the offset the planner would repeat it for every field.
    cross join lateral (
        select {{ cast_text("order_book_levels.attributes", casts["attributes"]) }} as fields
        offset 0
    ) as parsed

),

final as (

    select
        'realtime__order_book_l2' as source_table,
        source_system,
        symbol,
        side,
        snapshot_id,
        load_id,
        file_name,
        fields as attributes,
        {{ cast_text("level", casts["level"]) }} as level,
        {{ cast_text("price", casts["price"]) }} as price,
        {{ cast_text("size", casts["size"]) }} as size,
        {{ cast_text("snapshot_size", casts["snapshot_size"]) }} as snapshot_size,
        {{ cast_text("log_epoch", casts["log_epoch"]) }} as log_epoch,
        {{ cast_text("kafka_partition", casts["kafka_partition"]) }} as kafka_partition,
        {{ cast_text("kafka_offset", casts["kafka_offset"]) }} as kafka_offset,
        {{ bad_casts(casts) }} as bad_casts,
        {{ cast_text("book_at", casts["book_at"]) }} as book_at,
        {{ cast_text("received_at", casts["received_at"]) }} as received_at,
        loaded_at
    from named

)

select * from final
