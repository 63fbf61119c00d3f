{#- A folder's schema is the schema: access is granted by schema, so no target prefix may appear. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
