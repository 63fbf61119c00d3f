{#-
    `marts.bars_across`: the bars of a range that both databases hold, made by a post-hook of the minute bars. Who asks has
    what `realtime` held, read before: the ticks of those minutes that the warehouse may hold too, and the minute bars of
    all later ones, which are its own. By the rule of every other bar:

    - a minute of such ticks is computed of the union of both sides, each record once, without re-sent trades;
    - any other minute is the bar of the side that has it;
    - longer bars are rolled up of these minutes: '5m' and '1h' by UTC, '1d' by the venue's session.

    A day whose ticks were deleted has the bars that it had. It reads as whoever asks, and its text survives a swap of the
    tables. `read_to` is the end of the last bar that is asked; a bar is asked where it begins from `from_at` on, before
    `to_at`. `seen_at` is when `realtime` was read.
-#}
{% macro make_bars_across() -%}
    {%- if execute and not is_dev() and not is_made("marts.bars_across(" ~ bars_across_types() ~ ")", bars_across_body()) -%}
    -- What the body reads may be built later in the run.
    set local check_function_bodies = off;
    drop function if exists marts.bars_across({{ bars_across_types() }});
    create function marts.bars_across(
        {%- for name, type in bars_across_arguments().items() %}
        {{ name }} {{ type }}{{ "," if not loop.last }}
        {%- endfor %}
    )
    returns table (
        volume_unit text, open numeric, high numeric, low numeric, close numeric, vwap numeric, volume numeric,
        quote_volume numeric, trade_count bigint, is_final boolean, bar_start_at timestamptz, bar_end_at timestamptz
    )
    language sql stable parallel safe as $bars${{ bars_across_body() }}$bars$;
    comment on function marts.bars_across({{ bars_across_types() }}) is
    'The bars of a range, of what realtime held (its arguments) and what is here: each record once.';
    {%- endif -%}
{%- endmacro %}


{#- `marts.joined_key`: the instrument_key or series_key of a source and its name, for whoever asks from outside. -#}
{% macro make_joined_key() -%}
    {%- set body = "select " ~ joined_key(["$1", "$2"]) -%}
    {%- if is_published() and not is_made("marts.joined_key(text, text)", body) -%}
    create or replace function marts.joined_key(source_system text, name text) returns text
    language sql immutable parallel safe as $bars${{ body }}$bars$;
    comment on function marts.joined_key(text, text) is
    'The instrument_key or series_key of a source and its symbol or series.';
    {%- endif -%}
{%- endmacro %}


{#- `marts.final_until`: until when a minute has no more ticks to come, for whoever read `realtime` at a moment. -#}
{% macro make_final_until() -%}
    {%- set body = "select $1 - " ~ late_ticks() -%}
    {%- if is_published() and not is_made("marts.final_until(timestamptz)", body) -%}
    create or replace function marts.final_until(seen_at timestamptz) returns timestamptz
    language sql immutable parallel safe as $bars${{ body }}$bars$;
    comment on function marts.final_until(timestamptz) is
    'The end of the last minute that is final for whoever read realtime at a moment.';
    {%- endif -%}
{%- endmacro %}


{% macro bars_across_arguments() -%}
    {{ return({
        "source_system": "text",
        "symbol": "text",
        "bar_interval": "text",
        "from_at": "timestamptz",
        "to_at": "timestamptz",
        "read_to": "timestamptz",
        "seen_at": "timestamptz",
        "traded_at": "timestamptz[]",
        "received_at": "timestamptz[]",
        "price": "double precision[]",
        "size": "double precision[]",
        "trade_id": "text[]",
        "log_epoch": "smallint[]",
        "kafka_partition": "smallint[]",
        "kafka_offset": "bigint[]",
        "bars": "jsonb",
    }) }}
{%- endmacro %}


{% macro bars_across_types() -%}
    {{ return(bars_across_arguments().values() | join(", ")) }}
{%- endmacro %}


{#- Whether the function is there with this body. -#}
{% macro is_made(signature, body) -%}
    {%- set found = run_query(
        "select count(1) from pg_proc where oid = to_regprocedure('" ~ signature ~ "') and prosrc = $bars$" ~ body ~ "$bars$"
    ) -%}
    {{ return(found.rows[0][0] == 1) }}
{%- endmacro %}


{% macro bars_across_body() -%}
{%- set key = joined_key(["$1", "$2"]) -%}
{%- set identity = "log_epoch, kafka_partition, kafka_offset" -%}
{%- set lake_place = ["loaded_at", "load_id", "record_number", "market_tick_key"] -%}
{%- set step -%}
    case $3 when '1m' then interval '1 minute' when '5m' then interval '5 minutes' else interval '1 hour' end
{%- endset -%}
{%- set values -%}
    volume_unit, open, high, low, close, volume, quote_volume, trade_count, is_of_batch, bar_start_at
{%- endset -%}
with

streamed as (

    select
        ticks.*,
        {{ minute_of("ticks.traded_at") }} as bar_start_at
    from unnest($8, $9, $10, $11, $12, $13, $14, $15)
        as ticks (traded_at, received_at, price, size, trade_id, {{ identity }})
    where {{ has_its_ticks("marts.fct_deleted_tick_days", key, day_of("ticks.traded_at")) }}

),

touched as (

    select distinct bar_start_at from streamed

),

-- Without the offset the planner may read the whole table instead of asking its index for each minute.
kept as (

    select
        here.*,
        touched.bar_start_at
    from touched
    cross join
        lateral (
            select
                traded_at, received_at, price, size, trade_id, {{ identity }}, is_resent, {{ lake_place | join(", ") }}
            from marts.fct_market_ticks as ticks
            where
                ticks.instrument_key = {{ key }}
                and ticks.traded_at >= touched.bar_start_at
                and ticks.traded_at < touched.bar_start_at + interval '1 minute'
            offset 0
        ) as here

),

gathered as (

    select
        traded_at, received_at, price, size, trade_id, {{ identity }}, false as is_marked,
        null::timestamptz as loaded_at, null::text as load_id, null::bigint as record_number,
        null::text as market_tick_key, true as is_streamed, bar_start_at
    from streamed
    union all
    select
        traded_at, received_at, price, size, trade_id, {{ identity }}, is_resent,
        {{ lake_place | join(", ") }}, false, bar_start_at
    from kept

),

-- A record that both have is one, and marked where either marked it.
copies as (

    select
        *,
        bool_or(is_marked) over record as was_resent,
        row_number() over (record order by is_streamed desc) as copy_number
    from gathered
    window record as (partition by {{ identity }}, case when log_epoch is null then market_tick_key end)

),

ticks as (

    select
        $1 as source_system,
        $2 as symbol,
        copies.*
    from copies
    where copy_number = 1

),

marked as (

    select
        *,
        was_resent or ({{ is_resent_tick(then=lake_place) }}) as is_resent
    from ticks

),

computed as (

    {{
        bars_1m(
            "marked", also={"is_of_batch": "bool_and(received_at is null)"}, then=lake_place, counts=is_counted_tick()
        )
    }}

),

minutes as (

    select {{ values }} from computed
    where trade_count > 0
    union all
    select {{ values }} from marts.fct_bars_1m as bars
    where
        instrument_key = {{ key }}
        and bar_start_at >= $4
        and bar_start_at < $6
        and not exists (select 1 from touched where touched.bar_start_at = bars.bar_start_at)
    union all
    select {{ values | replace("is_of_batch", "false") }}
    from jsonb_to_recordset($16) as bars (
        volume_unit text, open numeric, high numeric, low numeric, close numeric, volume numeric,
        quote_volume numeric, trade_count bigint, bar_start_at timestamptz
    )

),

dated as (

    select
        minutes.*,
        venues.time_zone,
        venues.session_shift,
        case when $3 = '1d' then {{ session_date("minutes.bar_start_at", "venues") }} end as session_date,
        case when $3 <> '1d' then date_bin({{ step }}, minutes.bar_start_at, 'epoch') end as binned_at
    from minutes
    left join marts.dim_venues_history as venues
        on
            $3 = '1d'
            and venues.venue_key = {{ joined_key(["$1"]) }}
            and {{ is_effective("venues", "minutes.bar_start_at") }}

),

rolled as (

    select
        max(volume_unit) as volume_unit,
        {{ rolled_up_values() }},
        coalesce(bool_and(is_of_batch), false) as is_of_batch,
        coalesce(binned_at, min({{ session_start("session_date", "dated") }})) as bar_start_at,
        coalesce(binned_at + {{ step }}, max({{ session_start("session_date + 1", "dated") }})) as bar_end_at
    from dated
    group by session_date, binned_at

)

select
    volume_unit, open, high, low, close, vwap, volume, quote_volume, trade_count,
    is_of_batch or {{ is_final_bar("bar_start_at", upper="$7", bar_end_at="bar_end_at") }} as is_final,
    bar_start_at, bar_end_at
from rolled
where bar_start_at >= $4 and bar_start_at < $5
order by bar_start_at
{%- endmacro %}
