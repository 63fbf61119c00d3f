{#-
    A folder's schema is the schema: access is granted by schema, so no prefix may appear. A dev target's has the person's
    prefix, so that nothing it makes lies where people read.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if is_dev() and (not target.schema.startswith("dev_") or target.schema | length > 46) -%}
        {{ exceptions.raise_compiler_error(
            "DBT_DEV_SCHEMA: expected a name of at most 46 letters that begins with dev_, such as dev_ann, received '"
            ~ target.schema ~ "'"
        ) }}
    {%- endif -%}
    {%- if not custom_schema_name -%}
        {{ target.schema }}
    {%- else -%}
        {{ target.schema ~ "_" if is_dev() }}{{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}


{% macro is_dev() -%}
    {{ return(target.name.startswith("dev")) }}
{%- endmacro %}
