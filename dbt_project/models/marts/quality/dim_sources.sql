{{ config(unique_key="source_system") }}
with

seen as (

    select * from {{ ref("int_sources_seen") }}

),

final as (

    select
        source_system,
        string_agg(distinct topic, ', ' order by topic) as topics,
        bool_or(is_streamed) as is_streamed,
        bool_or(not is_streamed) as is_batch,
        source_system = 'simulated' as is_simulated,
        min(first_loaded_at) as first_loaded_at,
        max(loaded_at) as last_loaded_at
    from seen
    group by source_system

)

select * from final
