{{
    config(
        unique_key="order_book_level_key",
        merge_update_columns=["is_resent", "is_whole_snapshot"],
        indexes=[
            {"columns": ["symbol", "book_at"]},
            {"columns": ["snapshot_id"]},
            {"columns": ["received_at"]},
            {"columns": ["loaded_at"]},
        ],
    )
}}
{%- set columns = [
    "order_book_level_key",
    "symbol_key",
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
] | join(", ") -%}
with

arrived as (

    select
        {{ columns }},
        null::boolean as was_resent,
        null::boolean as was_whole_snapshot
    from {{ ref("int_order_book_levels_united") }}
    {% if is_incremental() %}
    where loaded_at > (select coalesce(max(loaded_at), '-infinity') from {{ this }})
    {% endif %}

),

-- What is here of the same snapshots: one that crosses midnight is promoted in two days.
gathered as (

    select * from arrived
    {% if is_incremental() %}
    union all
    select
        {{ columns }},
        is_resent as was_resent,
        is_whole_snapshot as was_whole_snapshot
    from {{ this }}
    where
        (source_system, symbol, snapshot_id) in (
            select
                source_system,
                symbol,
                snapshot_id
            from arrived
        )
        and order_book_level_key not in (select order_book_level_key from arrived)
    {% endif %}

),

marked as (

    select
        *,
        {{ is_resent_level() }} as is_resent
    from gathered

),

counted as (

    select
        *,
        {{ is_whole_snapshot() }} as is_whole_snapshot
    from marked

),

final as (

    select
        order_book_level_key,
        symbol_key,
        source_system,
        symbol,
        side,
        snapshot_id,
        load_id,
        attributes,
        level,
        price,
        size,
        snapshot_size,
        log_epoch,
        kafka_partition,
        kafka_offset,
        is_resent,
        is_whole_snapshot,
        book_at,
        received_at,
        loaded_at
    from counted
    where (was_resent, was_whole_snapshot) is distinct from (is_resent, is_whole_snapshot)

)

select * from final
