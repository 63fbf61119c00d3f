{{
    config(
        materialized="incremental",
        incremental_strategy="upsert",
        unique_key="source_topic_key",
        merge_update_columns=["loaded_at"],
        on_schema_change="fail",
        contract={"enforced": true},
        indexes=[
            {"columns": ["source_table", "loaded_at"]},
        ],
    )
}}
with

-- The models that unite the sources of the categories.
ticks as (

    select
        'market_tick' as topic,
        source_table,
        source_system,
        loaded_at
    from {{ ref("int_market_ticks_united") }}

),

levels as (

    select
        'order_book_l2' as topic,
        source_table,
        source_system,
        loaded_at
    from {{ ref("int_order_book_levels_united") }}

),

events as (

    select
        category as topic,
        source_table,
        source_system,
        loaded_at
    from {{ ref("int_events_united") }}

),

united as (

    select * from ticks
    union all
    select * from levels
    union all
    select * from events

),

final as (

    select
        {{ joined_key(["source_table", "topic", "source_system"]) }} as source_topic_key,
        source_table,
        topic,
        source_system,
        source_table like 'realtime\_\_%' as is_streamed,
        min(loaded_at) as first_loaded_at,
        max(loaded_at) as loaded_at
    from united
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}
    group by source_table, topic, source_system

)

select * from final
