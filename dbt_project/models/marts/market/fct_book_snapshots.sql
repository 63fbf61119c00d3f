{{
    config(
        unique_key="book_snapshot_key",
        meta={"gone_where": "level_count = 0"},
        indexes=[
            {"columns": ["instrument_key", "book_at"]},
            {"columns": ["received_at"]},
            {"columns": ["built_at"]},
        ],
    )
}}
with

levels as not materialized (

    select * from {{ ref("fct_order_book_levels") }}
    where snapshot_id is not null

),

{% if is_incremental() -%}
-- In the order of the index, which is asked for each.
touched as (

    select distinct
        {{ hashed_id("snapshot_id") }} as snapshot_hash,
        instrument_key,
        snapshot_id
    from levels
    where built_at > {{ newest(this, "built_at") }}
    order by snapshot_hash

),

{% endif -%}
-- Without the offset the planner may read the whole table instead.
gathered as (

    {% if is_incremental() %}
    select same.*
    from touched
    cross join
        lateral (
            select here.* from levels as here
            where
                {{ hashed_id("here.snapshot_id") }} = touched.snapshot_hash
                and here.snapshot_id = touched.snapshot_id
                and here.instrument_key = touched.instrument_key
            offset 0
        ) as same
    {% else %}
    select * from levels
    {% endif %}

),

marked as (

    select
        *,
        is_whole_snapshot and not is_resent as is_counted,
        is_whole_snapshot and not is_resent and side = 'bid' as is_bid,
        is_whole_snapshot and not is_resent and side = 'ask' as is_ask
    from gathered

),

snapshots as (

    select
        instrument_key,
        source_system,
        symbol,
        snapshot_id,
        max({{ exact("price") }}) filter (where is_bid and level = 1) as bid_price,
        max({{ exact("size") }}) filter (where is_bid and level = 1) as bid_size,
        max({{ exact("price") }}) filter (where is_ask and level = 1) as ask_price,
        max({{ exact("size") }}) filter (where is_ask and level = 1) as ask_size,
        sum({{ exact("size") }}) filter (where is_bid) as bid_depth,
        sum({{ exact("size") }}) filter (where is_ask) as ask_depth,
        count(1) filter (where is_counted) as level_count,
        -- Of what counts: a level that is sent again with another time moves no book to another minute.
        max(book_at) filter (where is_counted) as book_at,
        max(received_at) as received_at,
        max(loaded_at) as loaded_at,
        max(built_at) as built_at
    from marked
    group by instrument_key, source_system, symbol, snapshot_id

),

final as (

    select
        {{ joined_key(["source_system", "symbol", "snapshot_id"]) }} as book_snapshot_key,
        instrument_key,
        source_system,
        symbol,
        snapshot_id,
        {{ size_unit("source_system", "symbol", "book_at") }} as size_unit,
        bid_price,
        bid_size,
        ask_price,
        ask_size,
        ask_price - bid_price as spread,
        (ask_price + bid_price) / 2 as mid_price,
        bid_depth,
        ask_depth,
        level_count,
        book_at,
        received_at,
        loaded_at,
        built_at
    from snapshots
    {% if not is_incremental() %}
    where level_count > 0
    {% endif %}

)

select * from final
