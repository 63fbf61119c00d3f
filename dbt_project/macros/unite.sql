{#-
    The rows of every relation, with these columns: a source more is a line more in the model's list. `others`, by type,
    are columns that a part of a union may lack: null where they are not among `columns`.
-#}
{% macro unite(relations, columns, others={}) -%}
    {%- for relation in relations %}
    select
        {%- for name, type in others.items() %}
        {{ name if name in columns else "null::" ~ type ~ " as " ~ name }},
        {%- endfor %}
        {{ columns | reject("in", others) | join(",\n        ") }}
    from {{ relation }}{{ "\n    union all" if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{#-
    The number of a row within its file of the lake, from 1, by all that it holds: the same after every load of the file.
    `loaded` is the ingestion table's rows; the condition of an incremental model on `loaded_at` reaches them.
-#}
{% macro record_number(loaded) -%}
    row_number() over (
        partition by {{ loaded }}.loaded_at, {{ loaded }}.file_name order by {{ loaded }}::text collate "C"
    )
{%- endmacro %}
