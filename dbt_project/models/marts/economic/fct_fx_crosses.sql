{{ config(materialized="view") }}
with

rates as (

    select * from {{ ref("fct_fx_rates") }}

),

-- The euro is worth itself on every day on which anything is quoted in it.
quoted as (

    select
        source_system,
        currency,
        rate,
        age_days,
        is_filled,
        rate_date
    from rates
    union all
    select
        source_system,
        'EUR' as currency,
        1::numeric as rate,
        min(age_days) as age_days,
        bool_and(is_filled) as is_filled,
        rate_date
    from rates
    group by source_system, rate_date

),

final as (

    select
        base.source_system,
        base.currency as base_currency,
        quote.currency as quote_currency,
        quote.rate / nullif(base.rate, 0) as rate,
        greatest(base.age_days, quote.age_days) as age_days,
        base.is_filled or quote.is_filled as is_filled,
        base.rate_date
    from quoted as base
    inner join quoted as quote
        on
            base.rate_date = quote.rate_date
            and base.source_system = quote.source_system
            and base.currency <> quote.currency

)

select * from final
