{{
    config(
        unique_key="order_book_level_key",
        merge_update_columns=["loaded_at", "is_resent", "is_whole_snapshot", "built_at"],
        indexes=[
            {"columns": ["instrument_key", "book_at"]},
            {"columns": [hashed_id("snapshot_id")]},
            {"columns": ["received_at"]},
            {"columns": ["source_table", "loaded_at"]},
            {"columns": ["loaded_at", "built_at"], "type": "brin"},
        ],
    )
}}
{%- set columns = [
    "order_book_level_key",
    "instrument_key",
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
] | join(", ") -%}
with

arrived as (

    select
        {{ columns }},
        null::boolean as was_resent,
        null::boolean as was_whole_snapshot
    from {{ ref("int_order_book_levels_united") }}
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}

),

{% if is_incremental() -%}
-- In the order of the index, which is asked for each.
snapshots as (

    select distinct
        {{ hashed_id("snapshot_id") }} as snapshot_hash,
        instrument_key,
        snapshot_id
    from arrived
    where snapshot_id is not null
    order by snapshot_hash

),

-- What is here of the same snapshots: one that crosses midnight is promoted in two days. Without the offset the planner
-- may read the whole table instead.
here as (

    select same.*
    from snapshots
    cross join
        lateral (
            select
                {{ columns }},
                is_resent as was_resent,
                is_whole_snapshot as was_whole_snapshot
            from {{ this }} as levels
            where
                {{ hashed_id("levels.snapshot_id") }} = snapshots.snapshot_hash
                and levels.snapshot_id = snapshots.snapshot_id
                and levels.instrument_key = snapshots.instrument_key
            offset 0
        ) as same
    where not exists (
            select 1 from arrived
            where arrived.order_book_level_key = same.order_book_level_key
        )

),

{% endif -%}
gathered as (

    select * from arrived
    {% if is_incremental() %}
    union all
    select * from here
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
        instrument_key,
        source_table,
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
        loaded_at,
        {{ built_now() }} as built_at
    from counted
    where (was_resent, was_whole_snapshot) is distinct from (is_resent, is_whole_snapshot)

)

select * from final
