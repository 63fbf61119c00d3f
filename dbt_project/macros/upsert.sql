{#-
    The incremental strategy `upsert`: new rows go in, and of those whose key is there, `merge_update_columns` (by default
    all) are set. The key's index is asked row by row, so that the cost follows what is new; of a MERGE the planner may
    make a join with the whole table. `gone_where`, in the model's meta, says which rows must not be there any more.
-#}
{% macro get_incremental_upsert_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set made = arg_dict["temp_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") -%}
    {%- set key = arg_dict["unique_key"] -%}
    {%- set all_others = arg_dict["dest_columns"] | map(attribute="name") | reject("equalto", key) | list -%}
    {%- set gone_where = config.get("meta", {}).get("gone_where") -%}
    {%- if gone_where %}
    delete from {{ target }}
    where {{ key }} in (select {{ key }} from {{ made }} where {{ gone_where }});
    {%- endif %}
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ made }}
    {%- if gone_where %}
    where not ({{ gone_where }})
    {%- endif %}
    on conflict ({{ key }}) do update set
        {% for column in config.get("merge_update_columns") or all_others -%}
        {{ adapter.quote(column) }} = excluded.{{ adapter.quote(column) }}{{ ", " if not loop.last }}
        {%- endfor %}
{%- endmacro %}
