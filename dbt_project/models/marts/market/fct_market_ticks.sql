{{
    config(
        unique_key="market_tick_key",
        merge_update_columns=["loaded_at", "is_resent", "built_at"],
        post_hook="{{ forget_deleted_tick_days() }}",
        indexes=[
            {"columns": ["instrument_key", "traded_at"]},
            {"columns": [hashed_id("trade_id")]},
            {"columns": ["received_at"]},
            {"columns": ["source_table", "loaded_at"]},
            {"columns": ["loaded_at", "built_at"], "type": "brin"},
        ],
    )
}}
{%- set columns = [
    "market_tick_key",
    "instrument_key",
    "source_table",
    "source_system",
    "symbol",
    "side",
    "trade_id",
    "load_id",
    "attributes",
    "price",
    "size",
    "record_number",
    "log_epoch",
    "kafka_partition",
    "kafka_offset",
    "traded_at",
    "received_at",
    "loaded_at",
] | join(", ") -%}
with

arrived as (

    select
        {{ columns }},
        null::boolean as was_resent
    from {{ ref("int_market_ticks_united") }}
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}

),

{% if is_incremental() -%}
-- In the order of the index, which is asked for each.
trades as (

    select distinct
        {{ hashed_id("trade_id") }} as trade_hash,
        instrument_key,
        trade_id
    from arrived
    where trade_id is not null
    order by trade_hash

),

-- What is here of the same trades: a day that is promoted late may hold the first of them. Without the offset the
-- planner may read the whole table instead.
here as (

    select same.*
    from trades
    cross join
        lateral (
            select
                {{ columns }},
                is_resent as was_resent
            from {{ this }} as ticks
            where
                {{ hashed_id("ticks.trade_id") }} = trades.trade_hash
                and ticks.trade_id = trades.trade_id
                and ticks.instrument_key = trades.instrument_key
            offset 0
        ) as same
    where not exists (
            select 1 from arrived
            where arrived.market_tick_key = same.market_tick_key
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
        {{ is_resent_tick(then=["loaded_at", "load_id", "record_number", "market_tick_key"]) }}
            as is_resent
    from gathered

),

final as (

    select
        market_tick_key,
        instrument_key,
        source_table,
        source_system,
        symbol,
        side,
        trade_id,
        load_id,
        attributes,
        price,
        size,
        record_number,
        log_epoch,
        kafka_partition,
        kafka_offset,
        is_resent,
        traded_at,
        received_at,
        loaded_at,
        {{ built_now() }} as built_at
    from marked
    where was_resent is distinct from is_resent

)

select * from final
