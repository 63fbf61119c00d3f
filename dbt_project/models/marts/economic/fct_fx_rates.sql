{{
    config(
        unique_key="fx_rate_key",
        meta={"gone_where": "rate is null"},
        indexes=[
            {"columns": ["currency", "rate_date"]},
            {"columns": ["rate_date"]},
            {"columns": ["loaded_at"]},
        ],
    )
}}
with

statements as not materialized (

    select * from {{ ref("int_reference_rates_changed") }}

),

-- A currency is filled again from the last day before its first changed one on which it had a rate.
{% if is_incremental() -%}
changed as (

    select
        source_system,
        currency,
        min(reference_date) as changed_date
    from statements
    where loaded_at > {{ newest(this, "loaded_at") }}
    group by source_system, currency

),

bounds as (

    select
        changed.*,
        coalesce(before.from_date, '-infinity') as from_date
    from changed
    left join
        lateral (
            select max(rates.source_date) as from_date
            from {{ this }} as rates
            where
                rates.source_system = changed.source_system
                and rates.currency = changed.currency
                and rates.source_date < changed.changed_date
        ) as before
        on true

),

{% endif -%}
latest as (

    select distinct on (statements.observation_key)
        statements.source_system,
        statements.currency,
        statements.reference_date,
        statements.value,
        statements.loaded_at
    from statements
    {% if is_incremental() %}
    inner join bounds
        on
            statements.source_system = bounds.source_system
            and statements.currency = bounds.currency
            and statements.reference_date >= bounds.from_date
    {% endif %}
    order by statements.observation_key asc, statements.statement desc

),

rated as (

    select
        *,
        lead(reference_date) over (
            partition by source_system, currency order by reference_date
        ) as next_date
    from latest
    where value is not null

),

-- Every day of the calendar from one rate to the next, and none after the last.
filled as (

    select
        rated.source_system,
        rated.currency,
        rated.value,
        rated.reference_date as source_date,
        rated.loaded_at,
        days.rate_date::date as rate_date
    from rated
    cross join
        lateral generate_series(
            rated.reference_date::timestamp,
            coalesce(rated.next_date - 1, rated.reference_date)::timestamp,
            '1 day'
        ) as days (rate_date)

),

derived as (

    select
        {{ joined_key(["source_system", "currency"]) }} || ':' || rate_date as fx_rate_key,
        source_system,
        currency,
        {{ exact("value") }} as rate,
        rate_date - source_date as age_days,
        rate_date <> source_date as is_filled,
        rate_date,
        source_date,
        loaded_at
    from filled

),

final as (

    select * from derived
    {% if is_incremental() %}
    union all
    -- A day that has no rate any more; how new it is, the load says that took it away.
    select
        rates.fx_rate_key,
        rates.source_system,
        rates.currency,
        null as rate,
        rates.age_days,
        rates.is_filled,
        rates.rate_date,
        rates.source_date,
        rates.loaded_at
    from {{ this }} as rates
    inner join bounds
        on
            rates.source_system = bounds.source_system
            and rates.currency = bounds.currency
            and rates.rate_date >= bounds.from_date
    where not exists (
            select 1 from derived
            where derived.fx_rate_key = rates.fx_rate_key
        )
    {% endif %}

)

select * from final
