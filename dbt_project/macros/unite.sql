{#- The rows of every relation of a category, with these columns: a source more is a line more in the model's list. -#}
{% macro unite(relations, columns) -%}
    {%- for relation in relations %}
    select
        {{ columns | join(",\n        ") }}
    from {{ relation }}
    {{ "union all" if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
