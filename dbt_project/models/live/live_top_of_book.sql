{{ config(alias="top_of_book") }}
with

levels as (

    select * from {{ ref("live_book") }}

),

final as (

    select
        source_system,
        symbol,
        max(price) filter (where side = 'bid') as bid_price,
        max(size) filter (where side = 'bid') as bid_size,
        max(price) filter (where side = 'ask') as ask_price,
        max(size) filter (where side = 'ask') as ask_size,
        max(book_at) as book_at,
        max(received_at) as received_at
    from levels
    where level = 1
    group by source_system, symbol

)

select * from final
