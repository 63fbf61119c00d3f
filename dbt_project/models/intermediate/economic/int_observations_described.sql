with

observations as (

    select * from {{ ref("int_observations_changed") }}

),

series as (

    select * from {{ ref("stg_fred__series") }}

),

-- What FRED said of each series, and until when: an event has the words of its time, whichever came later.
described as (

    select
        *,
        lead(loaded_at, 1, 'infinity') over (
            partition by series_id order by loaded_at, file_name
        ) as described_until
    from series

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
        described.unit,
        described.title as description,
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
        -- An end that no other of the load comes after is where the question ended (or 9999-12-31), and not the value.
        case
            when observations.vintage_end_date < observations.asked_until_date
                then observations.vintage_end_date
        end as vintage_end_date,
        null::timestamptz as received_at,
        observations.loaded_at
    from observations
    left join described
        on
            observations.series_id = described.series_id
            and observations.loaded_at >= described.loaded_at
            and observations.loaded_at < described.described_until

)

select * from final
