{{ config(alias="latest_numeric_events") }}
with

events as (

    select
        source_system,
        event_publisher,
        {{ blank_to_null("(attributes ->> 'series_id')") }} as series_id,
        unit,
        description,
        value,
        log_epoch,
        kafka_partition,
        kafka_offset,
        {{ cast_text("(attributes ->> 'date')", "date") }} as reference_date,
        {{ cast_text("(attributes ->> 'realtime_start')", "date") }} as vintage_date,
        received_at
    from {{ source("streaming", "economic_event_numeric") }}

),

-- The newest period first, of it the newest vintage, of that the newest arrival.
ranked as (

    select
        *,
        row_number() over (
            partition by source_system, event_publisher, coalesce(series_id, description)
            order by
                reference_date desc nulls last,
                vintage_date desc nulls last,
                received_at desc,
                log_epoch desc,
                kafka_partition desc,
                kafka_offset desc
        ) as newest
    from events

),

final as (

    select
        source_system,
        event_publisher,
        series_id,
        unit,
        description,
        value,
        reference_date,
        vintage_date,
        received_at
    from ranked
    where newest = 1

)

select * from final
