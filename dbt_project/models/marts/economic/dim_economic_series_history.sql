{{ config(materialized="view") }}
with

descriptions as (

    select * from {{ ref("int_series_described") }}

),

final as (

    select
        series_description_key,
        series_key,
        title,
        unit,
        frequency,
        seasonal_adjustment,
        is_current,
        effective_at,
        effective_end_at,
        known_at,
        superseded_at
    from descriptions

)

select * from final
