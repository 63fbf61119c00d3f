{#- A source that was never loaded has no table, and is as stale as can be. -#}
{% macro postgres__collect_freshness(source, loaded_at_field, filter) -%}
    {%- if adapter.get_columns_in_relation(source) -%}
        {{ return(default__collect_freshness(source, loaded_at_field, filter)) }}
    {%- endif -%}
    {%- call statement("collect_freshness", fetch_result=true, auto_begin=false) -%}
        select
            null::timestamptz as max_loaded_at,
            {{ current_timestamp() }} as snapshotted_at
    {%- endcall -%}
    {{ return(load_result("collect_freshness")) }}
{%- endmacro %}
