with

promotions as (

    select * from {{ ref("stg_ops__promotions") }}

),

final as (

    select
        {{ joined_key(["promotion_id", "log_epoch::text", "kafka_partition::text"]) }}
            as promotion_slice_key,
        promotion_id,
        topic,
        checksum,
        lake_path,
        log_epoch,
        kafka_partition,
        row_count,
        first_offset,
        last_offset,
        verified_at is not null as is_verified,
        received_date,
        promoted_at,
        verified_at
    from promotions

)

select * from final
