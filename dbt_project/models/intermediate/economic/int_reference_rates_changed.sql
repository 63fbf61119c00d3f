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

rates as (

    select * from {{ ref("stg_ecb__reference_rates") }}

),

-- N/A and an empty cell say that the bank published no rate of the currency for the day: no release. A row whose date
-- could not be read is counted in int_bad_casts_counted.
released as (

    select
        source_system || ':' || currency || ':' || reference_date as observation_key,
        source_system,
        currency,
        rate_text as value_text,
        load_id,
        file_name,
        rate as value,
        reference_date,
        null::date as vintage_date,
        loaded_at
    from rates
    where
        rate_text <> 'N/A'
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
        currency,
        value_text,
        load_id,
        file_name,
        value,
        statement,
        reference_date,
        vintage_date,
        loaded_at
    from changed

)

select * from final
