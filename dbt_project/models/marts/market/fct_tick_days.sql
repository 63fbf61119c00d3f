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

-- With a day changes the hole before the next day that has ticks. A day whose ticks were deleted stays as it was.
touched as (

    {% if is_incremental() %}
    select distinct
        changed.instrument_key,
        days.traded_date
    from changed
    cross join
        lateral (
            select changed.traded_date
            union all
            (
                select {{ day_of("later.traded_at") }}
                from ticks as later
                where
                    later.instrument_key = changed.instrument_key
                    and later.traded_at >= {{ end_of_day("changed.traded_date") }}
                    and {{ is_counted_tick("later.") }}
                order by later.traded_at
                limit 1
            )
        ) as days (traded_date)
    where
        {{
            has_its_ticks(ref("int_tick_days_deleted"), "changed.instrument_key", "days.traded_date")
        }}
    order by instrument_key, traded_date
    {% else %}
    select * from changed
    {% endif %}

),

-- The ticks of each day, and the last one before it: what lies between two of them may be a hole.
gathered as (

    select
        touched.traded_date,
        here.market_tick_key,
        here.instrument_key,
        here.source_system,
        here.symbol,
        {{ trade_number("here", "venues") }} as trade_number,
        here.log_epoch,
        here.kafka_partition,
        here.kafka_offset,
        here.traded_at,
        here.received_at,
        here.loaded_at,
        here.built_at
    from touched
    cross join
        lateral (
            (
                select before.* from ticks as before
                where
                    before.instrument_key = touched.instrument_key
                    and before.traded_at < {{ start_of_day("touched.traded_date") }}
                    and {{ is_counted_tick("before.") }}
                order by before.traded_at desc, before.kafka_offset desc
                limit 1
            )
            union all
            select same.* from ticks as same
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
        lag(trade_number) over history as previous_number,
        lag(log_epoch) over history as previous_epoch,
        lag(kafka_partition) over history as previous_partition,
        lag(kafka_offset) over history as previous_offset,
        lag(traded_at) over history as previous_at,
        lag(received_at) over history as previous_received_at
    from gathered
    window history as (
        partition by instrument_key, traded_date order by trade_number, traded_at, kafka_offset
    )

),

holes as (

    select
        followed.*,
        case when {{ lacks_numbers("followed") }} then trade_number - previous_number - 1 end
            as missing_trade_count
    from followed
    left join venues
        on
            followed.source_system = venues.source_system
            and {{ is_effective("venues", "followed.traded_at") }}
    where
        {{ day_of("followed.traded_at") }} = followed.traded_date
        and ({{ lacks_numbers("followed") }} or {{ is_silence("followed", "venues") }})

),

-- What the log says of the records between the two.
explained as (

    select
        holes.*,
        {{ hole_reason("holes", "between_them") }} as reason
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

listed as (

    select
        instrument_key,
        traded_date,
        coalesce(sum(missing_trade_count), 0)::bigint as missing_trade_count,
        count(1) as hole_count,
        string_agg(distinct reason, ', ' order by reason) as hole_reasons,
        jsonb_agg({{ hole_as_json() }} order by previous_at, traded_at, market_tick_key) as holes
    from explained
    group by instrument_key, traded_date

),

counted as (

    select
        touched.instrument_key,
        touched.traded_date,
        max(followed.source_system) as source_system,
        max(followed.symbol) as symbol,
        count(followed.market_tick_key) as trade_count,
        max(followed.loaded_at) as loaded_at,
        max(followed.built_at) as built_at
    from touched
    left join followed
        on
            touched.instrument_key = followed.instrument_key
            and touched.traded_date = followed.traded_date
            and touched.traded_date = {{ day_of("followed.traded_at") }}
    group by touched.instrument_key, touched.traded_date

),

final as (

    select
        counted.instrument_key || ':' || counted.traded_date as tick_day_key,
        counted.instrument_key,
        counted.source_system,
        counted.symbol,
        listed.hole_reasons,
        coalesce(listed.holes, '[]') as holes,
        counted.trade_count,
        coalesce(listed.missing_trade_count, 0) as missing_trade_count,
        coalesce(listed.hole_count, 0) as hole_count,
        counted.traded_date,
        counted.loaded_at,
        counted.built_at
    from counted
    left join listed
        on
            counted.instrument_key = listed.instrument_key
            and counted.traded_date = listed.traded_date
    {% if not is_incremental() %}
    where counted.trade_count > 0
    {% endif %}

)

select * from final
