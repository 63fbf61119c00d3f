{{ config(materialized="view") }}
{#- The promise of each source's tables is the freshness that its file in staging gives. -#}
{%- set units = {"minute": "minutes", "hour": "hours", "day": "days"} -%}
with

seen as (

    select * from {{ ref("int_sources_seen") }}

),

promised as (
    {%- set fresh = [] %}
    {%- if execute %}
    {%- for node in graph.sources.values() | sort(attribute="unique_id") %}
    {%- if node.freshness and node.freshness.warn_after and node.freshness.warn_after.count %}
    {%- do fresh.append(node) %}
    {%- endif %}
    {%- endfor %}
    {%- endif %}
    {%- for node in fresh %}

    select
        '{{ node.identifier }}' as source_table,
        {{ "null" if node.source_name == "realtime" else "'" ~ node.source_name ~ "'" }}
            as declared_source,
        interval '{{ node.freshness.warn_after.count }} {{ units[node.freshness.warn_after.period] }}'
            as promised_age
    {{ "union all" if not loop.last }}
    {%- else %}

    select
        null::text as source_table,
        null::text as declared_source,
        null::interval as promised_age
    where false
    {%- endfor %}

),

-- A batch source that was never loaded is a source, too.
listed as (

    select
        source_table,
        source_system,
        is_streamed,
        max(loaded_at) as last_new_at
    from seen
    group by source_table, source_system, is_streamed
    union all
    select
        source_table,
        declared_source as source_system,
        false as is_streamed,
        null as last_new_at
    from promised
    where
        declared_source is not null
        and not exists (
            select 1 from seen
            where seen.source_system = promised.declared_source and not seen.is_streamed
        )

),

final as (

    select
        {{ joined_key(["listed.source_system", "listed.source_table"]) }} as source_health_key,
        listed.source_system,
        listed.source_table,
        listed.is_streamed,
        coalesce(now() - listed.last_new_at > promised.promised_age, listed.last_new_at is null)
            as is_late,
        now() - listed.last_new_at as age,
        promised.promised_age,
        listed.last_new_at
    from listed
    left join promised on listed.source_table = promised.source_table

)

select * from final
