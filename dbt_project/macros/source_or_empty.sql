{#-
    The source's columns that `columns:` declares, whether or not its table is there: before a source's first load
    the relation is empty, and a column that the table lacks is null. Columns beyond the declared ones stay out.
-#}
{% macro source_or_empty(source_name, table_name) -%}
    {%- set relation = source(source_name, table_name) -%}
    {%- if execute -%}
        {%- set declared = declared_columns(source_name, table_name) -%}
        {%- set present = present_columns(relation, declared) -%}
        (
            select
                {%- for column in declared %}
                {% if column.name in present %}{{ adapter.quote(column.name) }}
                {%- else %}null::{{ column.data_type }} as {{ adapter.quote(column.name) }}
                {%- endif %}{{ "," if not loop.last }}
                {%- endfor %}
            {% if present %}from {{ relation }}{% else %}where false{% endif %}
        )
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}


{#-
    The source's whole rows as jsonb, for tables whose columns are data (a column per currency): never a list of them.
    Without the offset the planner would make a row's jsonb once for each of its cells.
-#}
{% macro source_as_json(source_name, table_name) -%}
    {%- set relation = source(source_name, table_name) -%}
    {%- if execute and not present_columns(relation, declared_columns(source_name, table_name)) -%}
        (
            select
                null::jsonb as record,
                null::text as load_id,
                null::text as file_name,
                null::timestamptz as loaded_at
            where false
        )
    {%- else -%}
        (
            select
                made.record,
                whole.load_id,
                whole.file_name,
                whole.loaded_at
            from {{ relation }} as whole
            cross join lateral (select to_jsonb(whole.*) as record offset 0) as made
        )
    {%- endif -%}
{%- endmacro %}


{% macro declared_columns(source_name, table_name) -%}
    {%- set named = graph.sources.values() | selectattr("source_name", "equalto", source_name) -%}
    {%- for node in named | selectattr("name", "equalto", table_name) -%}
        {{ return(node.columns.values() | list) }}
    {%- endfor -%}
{%- endmacro %}


{#-
    The columns that the table has; with the variable `as_declared` those that it will have, and no database is asked.
    The database is, and not dbt's cache: while one thread fills it with a schema, another finds half of its tables there,
    and a view over a table that seems to be missing would show no row.
-#}
{% macro present_columns(relation, declared) -%}
    {%- if var("as_declared") -%}
        {{ return(declared | map(attribute="name") | list) }}
    {%- endif -%}
    {{ return(adapter.get_columns_in_relation(relation) | map(attribute="name") | list) }}
{%- endmacro %}
