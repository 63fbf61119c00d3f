with

observations as (

    select * from {{ ref("int_observations_changed") }}

),

series as (

    select * from {{ ref("stg_fred__series") }}

),

-- What FRED said last about each series.
latest_series as (

    select distinct on (series_id) *
    from series
    order by series_id asc, loaded_at desc, file_name desc

),

final as (

    select
        observations.event_key,
        observations.observation_key,
        'fred__observations' as source_table,
        observations.source_system,
        'Federal Reserve Bank of St. Louis' as event_publisher,
        observations.series_id,
        observations.value_text,
        latest_series.unit,
        latest_series.title as description,
        observations.load_id,
        observations.file_name,
        observations.value,
        observations.reference_date,
        observations.vintage_date,
        observations.vintage_end_date,
        observations.loaded_at
    from observations
    left join latest_series on observations.series_id = latest_series.series_id

)

select * from final
