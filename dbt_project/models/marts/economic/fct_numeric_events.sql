{{
    config(
        unique_key="event_key",
        merge_update_columns=["loaded_at", "is_repeat", "is_latest", "built_at"],
        indexes=[
            {"columns": ["observation_key"]},
            {"columns": ["received_at"]},
            {"columns": ["built_at"]},
        ],
    )
}}
with

events as (

    select * from {{ ref("int_events_marked") }}

),

final as (

    select
        event_key,
        observation_key,
        source_table,
        source_system,
        event_publisher,
        series_id,
        unit,
        description,
        load_id,
        file_name,
        attributes,
        value,
        log_epoch,
        kafka_partition,
        kafka_offset,
        is_repeat,
        is_latest,
        reference_date,
        vintage_date,
        vintage_end_date,
        received_at,
        loaded_at,
        built_at
    from events
    where
        category = 'economic_event_numeric'
        {% if is_incremental() %}
        and built_at > {{ newest(this, "built_at") }}
        {% endif %}

)

select * from final
