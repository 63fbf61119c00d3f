{{ config(alias="latest_text_events") }}
with

feeds as (

    select * from {{ source("streaming", "feed") }}

),

-- The newest hundred records of each publisher, and of an entry that came more than once the newest.
final as (

    select
        feeds.source_system,
        feeds.name as event_publisher,
        newest.value,
        newest.unit,
        newest.description,
        newest.link,
        newest.entry,
        newest.received_at
    from feeds
    cross join
        lateral (
            select
                recent.*,
                row_number() over (
                    partition by recent.is_id, recent.series_id, recent.entry
                    order by
                        recent.received_at desc, recent.log_epoch desc, recent.kafka_offset desc
                ) as newest
            from (
                select
                    events.value,
                    events.unit,
                    events.description,
                    events.attributes ->> 'link' as link,
                    coalesce(
                        {{ blank_to_null("(events.attributes ->> 'id')") }},
                        {{ blank_to_null("(events.attributes ->> 'series_id')") }}
                        || ':'
                        || (events.attributes ->> 'date'),
                        events.log_epoch
                        || ':'
                        || events.kafka_partition
                        || ':'
                        || events.kafka_offset
                    ) as entry,
                    -- What tells an id from a series and its date that read the same.
                    {{ blank_to_null("(events.attributes ->> 'id')") }} is not null as is_id,
                    case
                        when {{ blank_to_null("(events.attributes ->> 'id')") }} is null
                            then {{ blank_to_null("(events.attributes ->> 'series_id')") }}
                    end as series_id,
                    events.log_epoch,
                    events.kafka_offset,
                    events.received_at
                from {{ source("streaming", "economic_event_text") }} as events
                where events.source_system = feeds.source_system
                    and events.event_publisher = feeds.name
                order by
                    events.received_at desc,
                    events.log_epoch desc,
                    events.kafka_partition desc,
                    events.kafka_offset desc
                limit 100
            ) as recent
        ) as newest
    where feeds.topic = 'economic_event_text' and newest.newest = 1

)

select * from final
