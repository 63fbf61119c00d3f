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
        case
            when observations.value is null then 'economic_event_text'
            else 'economic_event_numeric'
        end as category,
        observations.source_table,
        observations.source_system,
        'Federal Reserve Bank of St. Louis' as event_publisher,
        observations.series_id,
        latest_series.unit,
        latest_series.title as description,
        observations.load_id,
        observations.file_name,
        case when observations.value is null then observations.value_text end as text_value,
        null::jsonb as attributes,
        observations.value,
        null::smallint as log_epoch,
        null::smallint as kafka_partition,
        null::bigint as kafka_offset,
        observations.reference_date,
        observations.vintage_date,
        observations.vintage_end_date,
        null::timestamptz as received_at,
        observations.loaded_at
    from observations
    left join latest_series on observations.series_id = latest_series.series_id

)

select * from final
