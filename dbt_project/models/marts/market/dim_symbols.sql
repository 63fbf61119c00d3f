{{ config(unique_key="symbol_key") }}
with

ticks as (

    select * from {{ ref("fct_market_ticks") }}

),

levels as (

    select * from {{ ref("fct_order_book_levels") }}

),

ticked as (

    select
        symbol_key,
        source_system,
        symbol,
        min(traded_at) as first_traded_at,
        max(traded_at) as last_traded_at,
        null::timestamptz as last_book_at,
        max(loaded_at) as ticks_loaded_at,
        null::timestamptz as books_loaded_at,
        max(built_at) as ticks_built_at,
        null::timestamptz as books_built_at
    from ticks
    {% if is_incremental() %}
    where built_at > {{ newest(this, "ticks_built_at") }}
    {% endif %}
    group by symbol_key, source_system, symbol

),

booked as (

    select
        symbol_key,
        source_system,
        symbol,
        null::timestamptz as first_traded_at,
        null::timestamptz as last_traded_at,
        max(book_at) as last_book_at,
        null::timestamptz as ticks_loaded_at,
        max(loaded_at) as books_loaded_at,
        null::timestamptz as ticks_built_at,
        max(built_at) as books_built_at
    from levels
    {% if is_incremental() %}
    where built_at > {{ newest(this, "books_built_at") }}
    {% endif %}
    group by symbol_key, source_system, symbol

),

seen as (

    select * from ticked
    union all
    select * from booked
    {% if is_incremental() %}
    union all
    select
        symbol_key,
        source_system,
        symbol,
        first_traded_at,
        last_traded_at,
        last_book_at,
        ticks_loaded_at,
        books_loaded_at,
        ticks_built_at,
        books_built_at
    from {{ this }}
    {% endif %}

),

final as (

    select
        symbol_key,
        source_system,
        symbol,
        case when symbol like '%/%' then split_part(symbol, '/', 1) end as base_asset,
        case when symbol like '%/%' then split_part(split_part(symbol, '/', 2), ':', 1) end
            as quote_asset,
        min(first_traded_at) as first_traded_at,
        max(last_traded_at) as last_traded_at,
        max(last_book_at) as last_book_at,
        max(ticks_loaded_at) as ticks_loaded_at,
        max(books_loaded_at) as books_loaded_at,
        max(ticks_built_at) as ticks_built_at,
        max(books_built_at) as books_built_at
    from seen
    group by symbol_key, source_system, symbol

)

select * from final
