{#-
    Whether a tick repeats one that came before: the same trade of the same source and symbol, sent again.
    A tick without the venue's trade id is never a repeat: nothing says which trade it is. `trade` is the column that
    identifies it, `within` narrows the search to rows of the same values in a further column. What differs most comes
    first: the sort compares little more. `then`: what orders rows that have no place in a log.
-#}
{% macro is_resent_tick(trade="trade_id", within=none, then=[]) -%}
    {{ trade }} is not null
    and row_number() over (
        partition by {{ trade }}{{ ", " ~ within if within else "" }}, source_system, symbol
        order by {{ (["received_at", "log_epoch", "kafka_partition", "kafka_offset"] + then) | join(", ") }}
    ) > 1
{%- endmacro %}


{#-
    Whether the hash of a trade's id is of one that says something: the index holds no more of it. Blank ids of up to
    eight blanks are known by their hashes.
-#}
{% macro is_named_trade(trade_key) -%}
    {{ trade_key }} not in (
        {%- for blanks in range(9) %}
        hashtextextended(repeat(' ', {{ blanks }}), 0){{ "," if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}


{#- Whether a level repeats the same level of the same snapshot; one that names no snapshot is never a repeat. -#}
{% macro is_resent_level() -%}
    snapshot_id is not null
    and row_number() over (
        partition by source_system, symbol, snapshot_id, side, level
        order by received_at, log_epoch, kafka_partition, kafka_offset
    ) > 1
{%- endmacro %}


{#- Whether all records of the row's snapshot are here; needs `is_resent` in the relation. -#}
{% macro is_whole_snapshot() -%}
    coalesce(
        snapshot_id is not null
        and snapshot_size = count(1) filter (where not is_resent) over (partition by source_system, symbol, snapshot_id),
        false
    )
{%- endmacro %}


{#- The minute of a time; bars are half-open: a tick at :00.000000 begins the next. -#}
{% macro minute_of(column) -%}
    date_bin('1 minute', {{ column }}, 'epoch')
{%- endmacro %}


{#-
    True of every row, and the planner knows from it which partitions are empty: those made ahead. Kafka takes no record
    whose time is more than an hour ahead of the broker's clock.
-#}
{% macro is_not_ahead(received_at) -%}
    {{ received_at }} < now() + interval '1 day'
{%- endmacro %}


{#-
    Who took the trade, `buy` or `sell`: ccxt's own words, Databento's letters (its ask is a sell), null where the venue
    does not say.
-#}
{% macro trade_side(column) -%}
    case
        when lower({{ column }}) in ('buy', 'b', 'bid') then 'buy'
        when lower({{ column }}) in ('sell', 's', 'a', 'ask') then 'sell'
    end
{%- endmacro %}


{#- Whether a tick counts in bars: the first of its trade, at a time, with a price and a size. -#}
{% macro is_counted_tick(ticks="") -%}
    not {{ ticks }}is_resent
    and {{ ticks }}traded_at is not null
    and {{ ticks }}price is not null
    and {{ ticks }}size is not null
{%- endmacro %}


{#-
    One row per source, symbol and minute of the venue's clock: `bar_start_at`, a column of `ticks`. Sums are of exact
    decimals, so that no order of the rows changes them; ticks of one instant are in the order of their arrival; `then` is
    that of ticks that have no place in a log. `counts` says which ticks count, by default all: a minute without one has
    the trade_count 0. `also`: further aggregates, each with its name.
-#}
{% macro bars_1m(ticks, also={}, then=[], counts=none) -%}
    {%- set counted = " filter (where " ~ counts ~ ")" if counts else "" -%}
    select
        source_system,
        symbol,
        {{ size_unit("source_system", "symbol", "bar_start_at") }} as volume_unit,
        {{ exact("prices[1]") }} as open,
        {{ exact("high") }} as high,
        {{ exact("low") }} as low,
        {{ exact("prices[trade_count]") }} as close,
        {{ vwap("quote_volume", "volume") }} as vwap,
        volume,
        quote_volume,
        trade_count,
        {%- for name in also %}
        {{ name }},
        {%- endfor %}
        bar_start_at
    from (
        select
            source_system,
            symbol,
            array_agg(
                price order by
                    {{ (["traded_at", "log_epoch", "kafka_partition", "kafka_offset"] + then) | join(", ") }}
            ){{ counted }} as prices,
            max(price){{ counted }} as high,
            min(price){{ counted }} as low,
            sum({{ exact("size") }}){{ counted }} as volume,
            sum({{ exact("price") }} * {{ exact("size") }}){{ counted }} as quote_volume,
            count(1){{ counted }} as trade_count,
            {%- for name, aggregate in also.items() %}
            {{ aggregate }} as {{ name }},
            {%- endfor %}
            bar_start_at
        from {{ ticks }}
        group by bar_start_at, source_system, symbol
    ) as grouped
{%- endmacro %}


{#- The price that the volume was traded at on average; null where nothing was. -#}
{% macro vwap(quote_volume, volume) -%}
    {{ quote_volume }} / nullif({{ volume }}, 0)
{%- endmacro %}


{#- The prices, volumes and trades of one longer bar, of the minute bars in it. -#}
{% macro rolled_up_values() -%}
    (array_agg(open order by bar_start_at))[1] as open,
        max(high) as high,
        min(low) as low,
        (array_agg(close order by bar_start_at desc))[1] as close,
        {{ vwap("sum(quote_volume)", "sum(volume)") }} as vwap,
        sum(volume) as volume,
        sum(quote_volume) as quote_volume,
        coalesce(sum(trade_count), 0)::bigint as trade_count
{%- endmacro %}


{#-
    The aggregates that make one longer bar of the minute bars in it, without a loss: all are sums, extremes, the first
    and the last. `vwap` is of the sums. It is final once its minutes are and its end, `bar_end_at`, is behind the tidemark.
-#}
{% macro rolled_up_bars(bar_end_at) -%}
    max(source_system) as source_system,
        max(symbol) as symbol,
        max(volume_unit) as volume_unit,
        {{ rolled_up_values() }},
        bool_and(is_of_batch) as is_of_batch,
        bool_and(is_final)
        and (
            bool_and(is_of_batch)
            or coalesce({{ is_final_bar(none, upper="max(tidemark_at)", bar_end_at=bar_end_at) }}, false)
        ) as is_final
{%- endmacro %}


{#-
    Whether no tick of the bar is to be expected on the other side: it lies between the bounds, with the time that ticks
    may be late to spare. `lower`: what arrived before is on the other side; `upper`: so is what arrives after.
-#}
{% macro is_final_bar(bar_start_at, upper, lower=none, bar_end_at=none) -%}
    (
        {% if lower is not none -%}
        {{ bar_start_at }} >= {{ lower }} + {{ late_ticks() }} and {% endif -%}
        {{ bar_end_at or bar_start_at ~ " + interval '1 minute'" }} <= {{ upper }} - {{ late_ticks() }}
    )
{%- endmacro %}


{% macro late_ticks() -%}
    interval '{{ var("late_ticks_seconds") }} seconds'
{%- endmacro %}


{#- The end of the last day that is here: days leave `realtime` whole, so that everything before it arrived here. -#}
{% macro tidemark_of(ticks) -%}
    select date_trunc('day', max(received_at), 'UTC') + interval '1 day' as tidemark_at
    from {{ ticks }}
{%- endmacro %}


{#- The day of a time, UTC. -#}
{% macro day_of(column) -%}
    ({{ column }} at time zone 'UTC')::date
{%- endmacro %}


{#- The first instant of a day, UTC. -#}
{% macro start_of_day(column) -%}
    (({{ column }})::timestamp at time zone 'UTC')
{%- endmacro %}
