{{ config(materialized="view") }}
with

promotions as (

    select * from {{ ref("int_promotions_noted") }}

),

final as (

    select
        promotion_slice_key,
        promotion_id,
        topic,
        checksum,
        lake_path,
        log_epoch,
        kafka_partition,
        row_count,
        first_offset,
        last_offset,
        is_verified,
        received_date,
        promoted_at,
        verified_at
    from promotions

)

select * from final
