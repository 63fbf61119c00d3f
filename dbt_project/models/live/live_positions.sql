{{ config(alias="positions") }}
with

final as (

    select
        topic,
        log_epoch,
        kafka_partition,
        next_offset,
        updated_at
    from {{ source("streaming", "consumer_offset") }}
    where closed_at is null

)

select * from final
