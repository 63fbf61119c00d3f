{{ config(unique_key="calendar_date") }}
with

days as (

    select day::date as calendar_date
    from
        generate_series(
            timestamp '1776-07-04', timestamp '2100-12-31', interval '1 day'
        ) as days (day)
    {% if is_incremental() %}
    -- The calendar is there once, also after somebody emptied it.
    where not exists (select 1 from {{ this }})
    {% endif %}

),

final as (

    select
        calendar_date,
        extract(year from calendar_date)::integer as year,
        extract(quarter from calendar_date)::integer as quarter,
        extract(month from calendar_date)::integer as month,
        extract(isoyear from calendar_date)::integer as iso_year,
        extract(week from calendar_date)::integer as iso_week,
        extract(isodow from calendar_date)::integer as iso_weekday,
        extract(isodow from calendar_date) > 5 as is_weekend,
        date_trunc('month', calendar_date)::date as month_start_date,
        date_trunc('quarter', calendar_date)::date as quarter_start_date,
        date_trunc('year', calendar_date)::date as year_start_date
    from days

)

select * from final
