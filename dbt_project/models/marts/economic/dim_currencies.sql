{{ config(unique_key="currency") }}
with

rates as (

    select * from {{ ref("fct_fx_rates") }}

),

names as (

    select * from {{ ref("int_currencies_named") }}

),

rated as (

    select
        currency,
        min(rate_date) as first_rate_date,
        max(rate_date) as last_rate_date
    from rates
    group by currency

),

final as (

    select
        coalesce(names.currency, rated.currency) as currency,
        names.name,
        names.minor_unit_digits,
        rated.currency is not null as has_rates,
        rated.first_rate_date,
        rated.last_rate_date
    from names
    full outer join rated on names.currency = rated.currency

)

select * from final
