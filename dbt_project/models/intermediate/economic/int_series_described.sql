with

descriptions as (

    select * from {{ ref("stg_fred__series") }}
    where series_id is not null

),

worded as (

    select
        *,
        jsonb_build_array(title, unit, frequency, seasonal_adjustment) as words,
        coalesce(described_date::timestamp at time zone 'UTC', loaded_at) as effective_at
    from descriptions

),

compared as (

    select
        *,
        lag(words) over history as words_before,
        lag(unit) over history as unit_before,
        row_number() over history as load_number
    from worded
    window history as (partition by source_system, series_id order by loaded_at, file_name)

),

numbered as (

    select
        *,
        row_number() over history as description_number,
        lead(effective_at) over history as effective_end_at,
        lead(loaded_at) over history as superseded_at,
        count(1) filter (where load_number > 1 and unit is distinct from unit_before) over history
            as unit_change_count
    from compared
    where words is distinct from words_before
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
        effective_at,
        effective_end_at,
        loaded_at as known_at,
        superseded_at,
        loaded_at
    from numbered

)

select * from final
