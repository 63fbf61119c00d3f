{%- set promoted = {
    "stg_realtime__numeric_events": "economic_event_numeric",
    "stg_realtime__text_events": "economic_event_text",
} -%}
{%- set batch = {
    "stg_ecb__reference_rates": "ecb__reference_rates",
    "stg_fred__observations": "fred__observations",
} -%}
with

-- The staging models whose rows may be rejected, a line each.
promoted as (
    {%- for model, topic in promoted.items() %}

    select
        'realtime__{{ topic }}' as source_table,
        '{{ topic }}' as topic,
        {{ rejection_of(model) }} as reason,
        to_jsonb(staged) as record,
        load_id,
        file_name,
        log_epoch,
        kafka_partition,
        kafka_offset,
        received_at,
        loaded_at
    from {{ ref(model) }} as staged
    {{ "union all" if not loop.last }}
    {%- endfor %}

),

batch as (
    {%- for model, source_table in batch.items() %}

    select
        '{{ source_table }}' as source_table,
        null as topic,
        {{ rejection_of(model) }} as reason,
        to_jsonb(staged) as record,
        load_id,
        file_name,
        null::smallint as log_epoch,
        null::smallint as kafka_partition,
        null::bigint as kafka_offset,
        null::timestamptz as received_at,
        loaded_at
    from {{ ref(model) }} as staged
    {{ "union all" if not loop.last }}
    {%- endfor %}

),

united as (

    select * from promoted
    union all
    select * from batch

),

final as (

    select * from united
    where reason is not null

)

select * from final
