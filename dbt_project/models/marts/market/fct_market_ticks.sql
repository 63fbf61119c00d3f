{{
    config(
        unique_key="market_tick_key",
        merge_update_columns=["is_resent"],
        indexes=[
            {"columns": ["symbol", "traded_at"]},
            {"columns": ["trade_id", "symbol"]},
            {"columns": ["received_at"]},
            {"columns": ["loaded_at"]},
        ],
    )
}}
{%- set columns = [
    "market_tick_key",
    "symbol_key",
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
] | join(", ") -%}
with

arrived as (

    select
        {{ columns }},
        null::boolean as was_resent
    from {{ ref("int_market_ticks_united") }}
    {% if is_incremental() %}
    where loaded_at > (select coalesce(max(loaded_at), '-infinity') from {{ this }})
    {% endif %}

),

-- What is here of the same trades: a day that is promoted late may hold the first of them.
gathered as (

    select * from arrived
    {% if is_incremental() %}
    union all
    select
        {{ columns }},
        is_resent as was_resent
    from {{ this }}
    where
        (source_system, symbol, trade_id) in (
            select
                source_system,
                symbol,
                trade_id
            from arrived
        )
        and market_tick_key not in (select market_tick_key from arrived)
    {% endif %}

),

marked as (

    select
        *,
        {{ is_resent_tick() }} as is_resent
    from gathered

),

final as (

    select
        market_tick_key,
        symbol_key,
        source_system,
        symbol,
        trade_id,
        load_id,
        attributes,
        price,
        size,
        log_epoch,
        kafka_partition,
        kafka_offset,
        is_resent,
        traded_at,
        received_at,
        loaded_at
    from marked
    where was_resent is distinct from is_resent

)

select * from final
