{{ config(event_time=none) }}
with

promotions as (

    select * from {{ source_or_empty("ops", "promotion") }} as noted

),

final as (

    select
        promotion_id::text as promotion_id,
        topic,
        checksum,
        lake_path,
        log_epoch,
        kafka_partition,
        row_count,
        first_offset,
        last_offset,
        day as received_date,
        promoted_at,
        verified_at
    from promotions

)

select * from final
