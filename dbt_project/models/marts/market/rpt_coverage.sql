{{ config(materialized="view") }}
with

bars as (

    select * from {{ ref("fct_bars_1m") }}

),

holes as (

    select * from {{ ref("fct_tick_holes") }}

),

venues as (

    select * from {{ ref("int_venues_described") }}
    where is_current

),

traded as (

    select
        instrument_key,
        {{ day_of("bar_start_at") }} as traded_date,
        min(source_system) as source_system,
        min(symbol) as symbol,
        sum(trade_count)::bigint as trade_count,
        count(1) as minute_count,
        bool_and(is_final) as is_final
    from bars
    group by instrument_key, {{ day_of("bar_start_at") }}

),

-- A hole is of each day that it touches; what is missing, of the day that ends it.
spread as (

    select
        holes.*,
        days.traded_date::date as traded_date,
        {{ day_of("holes.ended_at") }} = days.traded_date::date as is_of_its_end
    from holes
    cross join
        lateral generate_series(
            {{ day_of("holes.started_at") }}::timestamp,
            {{ day_of("holes.ended_at") }}::timestamp,
            interval '1 day'
        ) as days (traded_date)

),

missed as (

    select
        instrument_key,
        traded_date,
        min(source_system) as source_system,
        min(symbol) as symbol,
        coalesce(sum(missing_trade_count) filter (where is_of_its_end), 0)::bigint
            as missing_trade_count,
        count(1) as hole_count,
        jsonb_agg(
            jsonb_build_object(
                'from', started_at,
                'to', ended_at,
                'kind', hole_kind,
                'missing', missing_trade_count,
                'reason', reason
            ) order by started_at, ended_at
        ) as holes,
        sum(
            least(ended_at, {{ end_of_day("traded_date") }})
            - greatest(started_at, {{ start_of_day("traded_date") }})
        ) as hole_duration
    from spread
    group by instrument_key, traded_date

),

covered as (

    select
        coalesce(traded.instrument_key, missed.instrument_key) as instrument_key,
        coalesce(traded.source_system, missed.source_system) as source_system,
        coalesce(traded.symbol, missed.symbol) as symbol,
        coalesce(traded.trade_count, 0) as trade_count,
        coalesce(missed.missing_trade_count, 0) as missing_trade_count,
        coalesce(traded.minute_count, 0) as minute_count,
        coalesce(missed.hole_count, 0) as hole_count,
        coalesce(missed.holes, '[]') as holes,
        coalesce(missed.hole_duration, interval '0') as hole_duration,
        coalesce(traded.is_final, true) as is_final,
        coalesce(traded.traded_date, missed.traded_date) as traded_date
    from traded
    full outer join missed
        on
            traded.instrument_key = missed.instrument_key
            and traded.traded_date = missed.traded_date

),

final as (

    select
        covered.instrument_key || ':' || covered.traded_date as coverage_key,
        covered.instrument_key,
        covered.source_system,
        covered.symbol,
        case when venues.has_numbered_trades then 'trade ids' else 'silence' end as measured_by,
        covered.holes,
        case
            when venues.has_numbered_trades then covered.trade_count + covered.missing_trade_count
        end as expected_trade_count,
        covered.trade_count,
        case when venues.has_numbered_trades then covered.missing_trade_count end
            as missing_trade_count,
        covered.minute_count,
        covered.hole_count,
        covered.is_final,
        covered.hole_duration,
        covered.traded_date
    from covered
    left join venues on covered.source_system = venues.source_system

)

select * from final
