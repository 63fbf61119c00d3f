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
        {{ exact("prices[1]") }} as open,
        {{ exact("high") }} as high,
        {{ exact("low") }} as low,
        {{ exact("prices[trade_count]") }} as close,
        volume,
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
            count(1){{ counted }} as trade_count,
            {%- for name, aggregate in also.items() %}
            {{ aggregate }} as {{ name }},
            {%- endfor %}
            bar_start_at
        from {{ ticks }}
        group by bar_start_at, source_system, symbol
    ) as grouped
{%- endmacro %}


{#-
    Whether no tick of the minute is to be expected on the other side: it lies between the bounds, with the time that
    ticks may be late to spare. `lower`: what arrived before is on the other side; `upper`: so is what arrives after.
-#}
{% macro is_final_bar(bar_start_at, upper, lower=none) -%}
    (
        {% if lower is not none -%}
        {{ bar_start_at }} >= {{ lower }} + {{ late_ticks() }} and {% endif -%}
        {{ bar_start_at }} + interval '1 minute' <= {{ upper }} - {{ late_ticks() }}
    )
{%- endmacro %}


{% macro late_ticks() -%}
    interval '{{ var("late_ticks_seconds") }} seconds'
{%- endmacro %}
