{{ config(unique_key="instrument_key") }}
{{- refuse_without_ticks(ref("int_tick_days_deleted")) -}}
with

listed as (

    select * from {{ ref("int_instruments_listed") }}
    where is_current

),

venues as (

    select * from {{ ref("int_venues_described") }}
    where is_current

),

ticks as (

    select * from {{ ref("fct_market_ticks") }}

),

levels as (

    select * from {{ ref("fct_order_book_levels") }}

),

ticked as (

    select
        instrument_key,
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
    group by instrument_key, source_system, symbol

),

booked as (

    select
        instrument_key,
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
    group by instrument_key, source_system, symbol

),

seen as (

    select * from ticked
    union all
    select * from booked
    {% if is_incremental() %}
    union all
    select
        instrument_key,
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

gathered as (

    select
        instrument_key,
        source_system,
        symbol,
        min(first_traded_at) as first_traded_at,
        max(last_traded_at) as last_traded_at,
        max(last_book_at) as last_book_at,
        max(ticks_loaded_at) as ticks_loaded_at,
        max(books_loaded_at) as books_loaded_at,
        max(ticks_built_at) as ticks_built_at,
        max(books_built_at) as books_built_at
    from seen
    group by instrument_key, source_system, symbol

),

final as (

    select
        gathered.instrument_key,
        {{ joined_key(["gathered.source_system"]) }} as venue_key,
        gathered.source_system,
        gathered.symbol,
        {{ instrument_terms() }},
        {{ size_unit("gathered.source_system", "gathered.symbol", "now()") }} as size_unit,
        parts.said is not null or listed.source_system is not null as is_described,
        gathered.first_traded_at,
        gathered.last_traded_at,
        gathered.last_book_at,
        listed.effective_at,
        listed.known_at,
        gathered.ticks_loaded_at,
        gathered.books_loaded_at,
        gathered.ticks_built_at,
        gathered.books_built_at
    from gathered
    cross join lateral (select {{ symbol_parts("gathered.symbol") }} as said offset 0) as parts
    left join
        lateral (
            select * from listed
            where {{ is_listed("listed", "gathered") }}
            order by {{ most_specific("listed") }}
            limit 1
        ) as listed
        on true
    left join venues on gathered.source_system = venues.source_system

)

select * from final
