{#-
    Drop the schemas that the project makes on a dev target, with all that is in them:
    `dbt run-operation drop_dev --target dev`.
-#}
{% macro drop_dev() -%}
    {%- if not is_dev() -%}
        {{ exceptions.raise_compiler_error(
            "drop_dev: expected --target dev or dev_realtime, received " ~ target.name
        ) }}
    {%- endif -%}
    {%- for schema in [target.schema] + graph.nodes.values() | map(attribute="schema") | unique | sort -%}
        {%- do adapter.drop_schema(api.Relation.create(database=target.dbname, schema=schema)) -%}
        {%- do log("dropped, where it was there: " ~ schema, info=true) -%}
    {%- endfor -%}
{%- endmacro %}
