{{
    config(
        unique_key="rejected_row_key",
        indexes=[
            {"columns": ["source_table", "loaded_at"]},
            {"columns": ["topic", "log_epoch", "kafka_partition", "kafka_offset"]},
        ],
    )
}}
with

rejected as (

    select * from {{ ref("int_rows_rejected") }}
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}

),

-- A row without a place in a log is known by its place among those of its file.
numbered as (

    select
        *,
        row_number() over (
            partition by source_table, loaded_at, file_name order by record::text collate "C"
        ) as number_in_file
    from rejected

),

final as (

    select
        coalesce(
            topic || ':' || log_epoch || ':' || kafka_partition || ':' || kafka_offset,
            {{ joined_key(["source_table", "file_name"]) }} || ':' || number_in_file
        ) as rejected_row_key,
        source_table,
        topic,
        reason,
        record,
        load_id,
        file_name,
        log_epoch,
        kafka_partition,
        kafka_offset,
        received_at,
        loaded_at,
        {{ built_now() }} as built_at
    from numbered

)

select * from final
