{{ config(alias="book") }}
with

feeds as (

    select * from {{ source("streaming", "feed") }}

),

-- The newest snapshot may still be arriving: the records of three hold one that is whole. `taken` counts within one
-- feed only, so that a reader of one symbol does not pay for the others.
final as (

    select
        feeds.source_system,
        feeds.name as symbol,
        taken.side,
        taken.snapshot_id,
        taken.level,
        taken.price,
        taken.size,
        taken.book_at,
        taken.received_at
    from feeds
    cross join
        lateral (
            with

            recent as (

                select
                    levels.source_system,
                    levels.symbol,
                    levels.side,
                    {{ blank_to_null("(levels.attributes ->> 'snapshot_id')") }} as snapshot_id,
                    levels.level,
                    levels.price,
                    levels.size,
                    {{ cast_text("(levels.attributes ->> 'snapshot_size')", "integer") }}
                        as snapshot_size,
                    levels.log_epoch,
                    levels.kafka_partition,
                    levels.kafka_offset,
                    {{ cast_text("(levels.attributes ->> 'timestamp')", "timestamptz") }}
                        as book_at,
                    levels.received_at
                from {{ source("streaming", "order_book_l2") }} as levels
                where levels.source_system = feeds.source_system and levels.symbol = feeds.name
                order by
                    levels.received_at desc,
                    levels.log_epoch desc,
                    levels.kafka_partition desc,
                    levels.kafka_offset desc
                limit (
                    select
                        3
                        * least(
                            greatest(
                                coalesce(
                                    {{
                                        cast_text(
                                            "(newest.attributes ->> 'snapshot_size')", "integer"
                                        )
                                    }},
                                    0
                                ),
                                0
                            ),
                            65534
                        )
                    from {{ source("streaming", "order_book_l2") }} as newest
                    where newest.source_system = feeds.source_system and newest.symbol = feeds.name
                    order by newest.received_at desc
                    limit 1
                )

            ),

            marked as (

                select
                    *,
                    {{ is_resent_level() }} as is_resent
                from recent

            ),

            counted as (

                select
                    *,
                    {{ is_whole_snapshot() }} as is_whole_snapshot
                from marked

            ),

            ranked as (

                select
                    *,
                    first_value(snapshot_id) over (
                        order by
                            received_at desc,
                            log_epoch desc,
                            kafka_partition desc,
                            kafka_offset desc
                    ) as newest_snapshot_id
                from counted
                where is_whole_snapshot and not is_resent

            )

            select * from ranked
            where snapshot_id = newest_snapshot_id
        ) as taken
    where feeds.topic = 'order_book_l2'

)

select * from final
