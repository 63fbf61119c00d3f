{{ config(materialized="view") }}
with

instruments as (

    select * from {{ ref("dim_instruments") }}

),

final as (

    select
        instrument_key as symbol_key,
        source_system,
        symbol,
        base_currency as base_asset,
        quote_currency as quote_asset,
        first_traded_at,
        last_traded_at,
        last_book_at,
        ticks_loaded_at,
        books_loaded_at,
        ticks_built_at,
        books_built_at
    from instruments

)

select * from final
