{{
    config(
        unique_key="book_spread_key",
        meta={"gone_where": "snapshot_count = 0"},
        indexes=[
            {"columns": ["instrument_key", "minute_start_at"]},
            {"columns": ["built_at"]},
            {"columns": ["is_final"]},
        ],
    )
}}
with

levels as not materialized (

    select * from {{ ref("fct_order_book_levels") }}

),

snapshots as not materialized (

    select * from {{ ref("fct_book_snapshots") }}

),

tidemark as (

    {{ tidemark_of("levels") }}

),

{% if is_incremental() -%}
-- By the levels: a snapshot that is whole no more is no row that could say so.
touched as (

    select
        instrument_key,
        {{ minute_of("book_at") }} as minute_start_at
    from levels
    where built_at > {{ newest(this, "built_at") }} and book_at is not null
    union
    select
        instrument_key,
        minute_start_at
    from {{ this }} as spreads
    cross join tidemark
    where not is_final and {{ is_final_bar("minute_start_at", upper="tidemark_at") }}
    order by instrument_key, minute_start_at

),

{% endif -%}
gathered as (

    {% if is_incremental() %}
    select
        touched.instrument_key as of_instrument_key,
        touched.minute_start_at,
        snapshots.*
    from touched
    left join
        lateral (
            select here.* from snapshots as here
            where
                here.instrument_key = touched.instrument_key
                and here.book_at >= touched.minute_start_at
                and here.book_at < touched.minute_start_at + interval '1 minute'
            offset 0
        ) as snapshots
        on true
    {% else %}
    select
        instrument_key as of_instrument_key,
        {{ minute_of("book_at") }} as minute_start_at,
        snapshots.*
    from snapshots
    where book_at is not null
    {% endif %}

),

minutes as (

    select
        of_instrument_key as instrument_key,
        max(source_system) as source_system,
        max(symbol) as symbol,
        max(size_unit) as size_unit,
        avg(spread) as average_spread,
        min(spread) as least_spread,
        max(spread) as greatest_spread,
        avg(spread / nullif(mid_price, 0)) * 10000 as average_spread_bps,
        avg(mid_price) as average_mid_price,
        avg(bid_depth) as average_bid_depth,
        avg(ask_depth) as average_ask_depth,
        count(book_snapshot_key) as snapshot_count,
        count(spread) as quoted_count,
        minute_start_at,
        max(loaded_at) as loaded_at,
        max(built_at) as built_at
    from gathered
    group by of_instrument_key, minute_start_at

),

final as (

    select
        instrument_key || ':'
        || to_char(minute_start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')
            as book_spread_key,
        instrument_key,
        source_system,
        symbol,
        size_unit,
        average_spread,
        least_spread,
        greatest_spread,
        average_spread_bps,
        average_mid_price,
        average_bid_depth,
        average_ask_depth,
        snapshot_count,
        quoted_count,
        coalesce({{ is_final_bar("minute_start_at", upper="tidemark_at") }}, false) as is_final,
        minute_start_at,
        loaded_at,
        built_at
    from minutes
    cross join tidemark

)

select * from final
