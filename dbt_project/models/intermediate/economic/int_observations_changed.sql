{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key="event_key",
        on_schema_change="fail",
        indexes=[{"columns": ["observation_key"]}, {"columns": ["loaded_at"]}],
    )
}}
with

observations as (

    select * from {{ ref("stg_fred__observations") }}

),

-- A row whose date could not be read is counted in int_bad_casts_counted.
released as (

    select
        source_system || ':' || series_id || ':' || reference_date as observation_key,
        source_system,
        series_id,
        value_text,
        load_id,
        file_name,
        value,
        reference_date,
        vintage_date,
        vintage_end_date,
        loaded_at
    from observations
    where
        value_text is not null
        and reference_date is not null
        {% if is_incremental() %}
        and loaded_at > (select coalesce(max(loaded_at), '-infinity') from {{ this }})
        {% endif %}

),

changed as (

    {{ changed_statements("released") }}

),

final as (

    select
        event_key,
        observation_key,
        source_system,
        series_id,
        value_text,
        load_id,
        file_name,
        value,
        statement,
        reference_date,
        vintage_date,
        vintage_end_date,
        loaded_at
    from changed

)

select * from final
