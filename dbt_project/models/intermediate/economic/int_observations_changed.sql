{{
    config(
        materialized="incremental",
        incremental_strategy="upsert",
        unique_key="event_key",
        on_schema_change="fail",
        contract={"enforced": true},
        indexes=[
            {"columns": ["observation_key", "coalesce(vintage_date, '-infinity')"]},
            {"columns": ["source_table", "loaded_at"]},
        ],
    )
}}
with

loads as (

    select * from {{ ref("stg_fred__observations") }}
    {% if is_incremental() %}
    where {{ is_new_load(this) }}
    {% endif %}

),

-- A row that is no observation is in rpt_rejected_rows.
bounded as (

    select
        *,
        max(vintage_end_date) over (partition by load_id, series_id) as asked_until_date
    from loads
    where {{ rejection_of("stg_fred__observations") }} is null

),

arrived as (

    select
        *,
        {{ joined_key(["source_system", "series_id"]) }} || ':' || reference_date as observation_key
    from bounded

),

vintages as (

    select distinct
        observation_key,
        vintage_date
    from arrived
    order by observation_key asc, vintage_date asc

),

-- Of each vintage, what was said last: the index is asked for it.
said as (

    select
        vintages.*,
        newest.value_text,
        newest.statement
    from vintages
    cross join
        lateral (
            {% if is_incremental() -%}
            select
                changed.value_text,
                changed.statement
            from {{ this }} as changed
            where
                changed.observation_key = vintages.observation_key
                and coalesce(changed.vintage_date, '-infinity')
                = coalesce(vintages.vintage_date, '-infinity')
            order by changed.statement desc
            limit 1
            {%- else -%}
            select
                null::text as value_text,
                null::bigint as statement
            where false
            {%- endif %}
        ) as newest

),

-- What each load says of each observation and its vintage, and what was said before.
compared as (

    select
        arrived.*,
        coalesce(said.statement, 0) as statements_before,
        case
            when row_number() over history = 1 then said.value_text
            else lag(arrived.value_text) over history
        end as value_text_before
    from arrived
    left join said
        on
            arrived.observation_key = said.observation_key
            and arrived.vintage_date is not distinct from said.vintage_date
    window history as (
        partition by arrived.observation_key, arrived.vintage_date
        order by arrived.loaded_at, arrived.file_name, arrived.value_text
    )

),

counted as (

    select
        *,
        statements_before + row_number() over (
            partition by observation_key, vintage_date
            order by loaded_at, file_name, value_text
        ) as statement
    from compared
    where value_text is distinct from value_text_before

),

final as (

    select
        observation_key || coalesce(':' || vintage_date, '') || ':' || statement as event_key,
        observation_key,
        source_table,
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
        asked_until_date,
        loaded_at
    from counted

)

select * from final
