{{ config(alias="trimmed_days") }}
with

final as (

    select
        promotion_id::text as promotion_id,
        topic,
        row_count,
        day as received_date,
        trimmed_at
    from {{ source("streaming", "trimmed") }}

)

select * from final
