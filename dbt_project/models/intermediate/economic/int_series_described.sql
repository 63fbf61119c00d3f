with

descriptions as (

    select * from {{ ref("stg_fred__series") }}
    where series_id is not null

),

compared as (

    select
        *,
        row(title, unit, frequency, seasonal_adjustment)
        is distinct from lag(row(title, unit, frequency, seasonal_adjustment)) over history
            as is_changed,
        unit is distinct from lag(unit) over history
        and row_number() over history > 1 as is_another_unit
    from descriptions
    window history as (partition by source_system, series_id order by loaded_at, file_name)

),

numbered as (

    select
        *,
        row_number() over history as description_number,
        lead(loaded_at) over history as superseded_at,
        count(1) filter (where is_another_unit) over history as unit_change_count
    from compared
    where is_changed
    window history as (partition by source_system, series_id order by loaded_at, file_name)

),

final as (

    select
        {{ joined_key(["source_system", "series_id"]) }} || ':' || description_number
            as series_description_key,
        {{ joined_key(["source_system", "series_id"]) }} as series_key,
        source_system,
        series_id,
        title,
        unit,
        frequency,
        seasonal_adjustment,
        notes,
        description_number,
        unit_change_count,
        superseded_at is null as is_current,
        coalesce(described_date::timestamp at time zone 'UTC', loaded_at) as effective_at,
        loaded_at as known_at,
        superseded_at,
        loaded_at
    from numbered

)

select * from final
