{{ config(materialized="view") }}
with

bars as (

    select * from {{ ref("fct_bars_1d") }}

),

followed as (

    select
        *,
        lag(close) over history as previous_close,
        lag(session_date) over history as previous_session_date
    from bars
    window history as (partition by instrument_key order by session_date)

),

final as (

    select
        bar_key as return_key,
        instrument_key,
        source_system,
        symbol,
        close,
        previous_close,
        close / nullif(previous_close, 0) - 1 as simple_return,
        case
            when close > 0 and previous_close > 0 then ln(close / previous_close)
        end as log_return,
        session_date - previous_session_date as days_since_previous,
        is_final,
        session_date,
        previous_session_date
    from followed

)

select * from final
