{{
    config(
        unique_key="tick_day_key",
        meta={"gone_where": "trade_count = 0"},
        indexes=[
            {"columns": ["instrument_key", "traded_date"]},
            {"columns": ["built_at"]},
        ],
    )
}}
{{- refuse_without_ticks(ref("int_tick_days_deleted")) -}}
{%- set of_tick = [
    "market_tick_key", "instrument_key", "source_system", "symbol", "trade_id", "traded_at", "received_at",
    "log_epoch", "kafka_partition", "kafka_offset", "loaded_at", "built_at"
] -%}
with

ticks as not materialized (

    select * from {{ ref("fct_market_ticks") }}

),

venues as (

    select * from {{ ref("int_venues_described") }}

),

changed as (

    select distinct
        instrument_key,
        {{ day_of("traded_at") }} as traded_date
    from ticks
    {% if is_incremental() %}
    where traded_at is not null and built_at > {{ newest(this, "built_at") }}
    {% else %}
    where traded_at is not null
    {% endif %}

),

{% if is_incremental() -%}
-- With a day changes the hole before the next day that has ticks.
followers as (

    select
        changed.instrument_key,
        following.traded_date
    from changed
    cross join
        lateral (
            select {{ day_of("later.traded_at") }} as traded_date
            from ticks as later
            where
                later.instrument_key = changed.instrument_key
                and later.traded_at >= {{ end_of_day("changed.traded_date") }}
                and {{ is_counted_tick("later.") }}
            order by later.traded_at
            limit 1
        ) as following

),

{% endif -%}
-- A day whose ticks were deleted stays as it was.
touched as (

    select * from changed
    {% if is_incremental() %}
    where
        {{
            has_its_ticks(ref("int_tick_days_deleted"), "changed.instrument_key", "changed.traded_date")
        }}
    union
    select * from followers
    where
        {{
            has_its_ticks(ref("int_tick_days_deleted"), "followers.instrument_key", "followers.traded_date")
        }}
    {% endif %}
    order by instrument_key, traded_date

),

-- The ticks of each day, and the last one before it: what lies between two of them may be a hole.
gathered as (

    select
        touched.traded_date,
        here.{{ of_tick | join(",\n        here.") }},
        venues.has_numbered_trades is true and here.trade_id ~ '^[0-9]{1,18}$' as is_numbered
    from touched
    cross join
        lateral (
            (
                select
                    before.{{ of_tick | join(",\n                    before.") }}
                from ticks as before
                where
                    before.instrument_key = touched.instrument_key
                    and before.traded_at < {{ start_of_day("touched.traded_date") }}
                    and {{ is_counted_tick("before.") }}
                order by before.traded_at desc, before.kafka_offset desc
                limit 1
            )
            union all
            select
                same.{{ of_tick | join(",\n                same.") }}
            from ticks as same
            where
                same.instrument_key = touched.instrument_key
                and same.traded_at >= {{ start_of_day("touched.traded_date") }}
                and same.traded_at < {{ end_of_day("touched.traded_date") }}
                and {{ is_counted_tick("same.") }}
        ) as here
    left join venues
        on
            here.source_system = venues.source_system
            and {{ is_effective("venues", "here.traded_at") }}

),

followed as (

    select
        *,
        case when is_numbered then trade_id::bigint end as trade_number,
        lag(case when is_numbered then trade_id::bigint end) over history as previous_number,
        lag(log_epoch) over history as previous_epoch,
        lag(kafka_partition) over history as previous_partition,
        lag(kafka_offset) over history as previous_offset,
        lag(traded_at) over history as previous_at,
        lag(received_at) over history as previous_received_at
    from gathered
    window history as (
        partition by instrument_key, traded_date
        order by case when is_numbered then trade_id::bigint end, traded_at, kafka_offset
    )

),

holes as (

    select
        followed.*,
        case
            when followed.trade_number > followed.previous_number + 1
                then followed.trade_number - followed.previous_number - 1
        end as missing_trade_count
    from followed
    left join venues
        on
            followed.source_system = venues.source_system
            and {{ is_effective("venues", "followed.traded_at") }}
    where
        {{ day_of("followed.traded_at") }} = followed.traded_date
        and (
            followed.trade_number > followed.previous_number + 1
            or (
                (followed.trade_number is null or followed.previous_number is null)
                and followed.traded_at - followed.previous_at
                > interval '{{ var("silence_minutes") }} minutes'
                and (
                    coalesce(venues.is_open_all_day, false)
                    or {{ session_date("followed.traded_at", "venues") }}
                    = {{ session_date("followed.previous_at", "venues") }}
                )
            )
        )

),

-- What the log says of the records between the two.
explained as (

    select
        holes.*,
        between_them.row_count as rows_between,
        between_them.source_row_count
    from holes
    cross join
        lateral (
            select
                count(1) filter (
                    where
                    other.log_epoch = holes.log_epoch
                    and other.kafka_partition = holes.kafka_partition
                    and other.kafka_offset > holes.previous_offset
                    and other.kafka_offset < holes.kafka_offset
                ) as row_count,
                count(1) filter (
                    where
                    other.source_system = holes.source_system
                    and other.instrument_key <> holes.instrument_key
                ) as source_row_count
            from ticks as other
            where
                other.received_at >= holes.previous_received_at
                and other.received_at <= holes.received_at
            offset 0
        ) as between_them

),

reasoned as (

    select
        *,
        case when missing_trade_count is null then 'silence' else 'missing trades' end as hole_kind,
        case
            when received_at is null or previous_received_at is null then 'not known'
            when log_epoch <> previous_epoch then 'the log began anew'
            when kafka_partition <> previous_partition or kafka_offset < previous_offset
                then 'not known'
            when kafka_offset - previous_offset - 1 > rows_between
                then 'records of the log are no rows here'
            when missing_trade_count is not null then 'never came to the log'
            when source_row_count > 0 then 'others of the source traded'
            else 'nothing of the source came'
        end as reason
    from explained

),

listed as (

    select
        instrument_key,
        traded_date,
        coalesce(sum(missing_trade_count), 0)::bigint as missing_trade_count,
        count(1) as hole_count,
        string_agg(distinct reason, ', ' order by reason) as hole_reasons,
        jsonb_agg(
            jsonb_build_object(
                'key', market_tick_key,
                'kind', hole_kind,
                'reason', reason,
                'first', previous_number + 1,
                'last', trade_number - 1,
                'missing', missing_trade_count,
                'from', previous_at at time zone 'UTC',
                'to', traded_at at time zone 'UTC'
            ) order by previous_at, traded_at, market_tick_key
        ) as holes
    from reasoned
    group by instrument_key, traded_date

),

counted as (

    select
        instrument_key,
        traded_date,
        max(source_system) as source_system,
        max(symbol) as symbol,
        count(1) as trade_count,
        max(loaded_at) as loaded_at,
        max(built_at) as built_at
    from followed
    where {{ day_of("traded_at") }} = traded_date
    group by instrument_key, traded_date

),

final as (

    select
        touched.instrument_key || ':' || touched.traded_date as tick_day_key,
        touched.instrument_key,
        counted.source_system,
        counted.symbol,
        listed.hole_reasons,
        coalesce(listed.holes, '[]') as holes,
        coalesce(counted.trade_count, 0) as trade_count,
        coalesce(listed.missing_trade_count, 0) as missing_trade_count,
        coalesce(listed.hole_count, 0) as hole_count,
        touched.traded_date,
        counted.loaded_at,
        counted.built_at
    from touched
    left join counted
        on
            touched.instrument_key = counted.instrument_key
            and touched.traded_date = counted.traded_date
    left join listed
        on
            touched.instrument_key = listed.instrument_key
            and touched.traded_date = listed.traded_date
    {% if not is_incremental() %}
    where counted.trade_count > 0
    {% endif %}

)

select * from final
