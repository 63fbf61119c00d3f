{{
    config(
        materialized="incremental",
        incremental_strategy="upsert",
        unique_key="event_key",
        on_schema_change="fail",
        contract={"enforced": true},
        indexes=[
            {"columns": ["observation_key"]},
            {"columns": ["source_table", "loaded_at"]},
        ],
    )
}}
with

-- N/A and an empty cell say that the bank publishes no rate of the currency for the day.
arrived as (

    select
        *,
        {{ joined_key(["source_system", "currency"]) }} || ':' || reference_date as observation_key,
        case when rate_text <> 'N/A' then rate_text end as stated
    from {{ ref("stg_ecb__reference_rates") }}
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}

),

-- A load is the whole history: what it lacks is withdrawn. Not so where a date could not be read (which
-- int_bad_casts_counted counts): nobody knows which day it was. Nor where it arrived after its time (its id, in seconds
-- since 1970): newer ones were there before it, and it knows nothing of their days.
loads as (

    select
        source_system,
        load_id,
        file_name,
        loaded_at,
        bool_and(reference_date is not null)
        and coalesce(
            loaded_at
            < to_timestamp({{ cast_text("load_id", "double precision") }}) + interval '1 second',
            true
        ) as is_whole
    from arrived
    group by source_system, load_id, file_name, loaded_at

),

said as (

    {% if is_incremental() -%}
    select distinct on (observation_key)
        observation_key,
        source_system,
        currency,
        reference_date,
        case when value_text <> 'N/A' then value_text end as stated,
        statement
    from {{ this }}
    order by observation_key asc, statement desc
    {%- else -%}
    select
        null::text as observation_key,
        null::text as source_system,
        null::text as currency,
        null::date as reference_date,
        null::text as stated,
        null::bigint as statement
    where false
    {%- endif %}

),

observations as (

    select
        observation_key,
        source_system,
        currency,
        reference_date
    from arrived
    where {{ rejection_of("stg_ecb__reference_rates") }} is null
    union
    select
        observation_key,
        source_system,
        currency,
        reference_date
    from said

),

-- What each load says of each observation, and what was said before.
compared as (

    select
        observations.*,
        arrived.rate_text as value_text,
        loads.load_id,
        loads.file_name,
        arrived.rate as value,
        coalesce(said.statement, 0) as statements_before,
        arrived.stated,
        case
            when row_number() over history = 1 then said.stated
            else lag(arrived.stated) over history
        end as stated_before,
        loads.loaded_at
    from observations
    inner join loads on observations.source_system = loads.source_system
    left join arrived
        on
            observations.observation_key = arrived.observation_key
            and loads.file_name = arrived.file_name
            and loads.loaded_at = arrived.loaded_at
    left join said on observations.observation_key = said.observation_key
    where loads.is_whole or arrived.observation_key is not null
    window history as (
        partition by observations.observation_key order by loads.loaded_at, loads.file_name
    )

),

counted as (

    select
        *,
        statements_before + row_number() over (
            partition by observation_key order by loaded_at, file_name
        ) as statement
    from compared
    where stated is distinct from stated_before

),

final as (

    select
        observation_key || ':' || statement as event_key,
        observation_key,
        'ecb__reference_rates' as source_table,
        source_system,
        currency,
        value_text,
        load_id,
        file_name,
        value,
        statement,
        reference_date,
        null::date as vintage_date,
        loaded_at
    from counted

)

select * from final
