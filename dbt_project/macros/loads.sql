{#-
    Whether a row's load is newer than the newest of its source table in `relation`: each source has loads of its own, and
    one that was slow is not passed over because another was quick. As literals, so that they reach the source's scan.
    The index on (source_table, loaded_at) is asked once for each source table, however many rows there are.
-#}
{% macro is_new_load(relation) -%}
    {%- set newest = run_query(
        "with recursive tables as ("
        ~ "(select source_table from " ~ relation ~ " order by source_table limit 1) union all "
        ~ "select (select other.source_table from " ~ relation ~ " as other "
        ~ "where other.source_table > tables.source_table order by other.source_table limit 1) "
        ~ "from tables where tables.source_table is not null) "
        ~ "select source_table, (select max(other.loaded_at) from " ~ relation ~ " as other "
        ~ "where other.source_table = tables.source_table)::text from tables where source_table is not null"
    ) -%}
    (
    {%- for source_table, loaded_at in newest.rows -%}
        (source_table = '{{ source_table }}' and loaded_at > '{{ loaded_at }}') or {% endfor -%}
        source_table <> all(array[{% for row in newest.rows %}'{{ row[0] }}'{{ ", " if not loop.last }}{% endfor %}]::text[]))
{%- endmacro %}


{#- The greatest value of a column of times, as a literal: a model that reads another takes what was built after it. -#}
{% macro newest(relation, column) -%}
    {%- set found = run_query("select coalesce(max(" ~ column ~ "), '-infinity')::text as newest from " ~ relation) -%}
    '{% for row in found.rows %}{{ row["newest"] }}{% endfor %}'::timestamptz
{%- endmacro %}


{#-
    When a build writes a row: now, and later than every build of the model before, also where the clock was set back
    meanwhile, as what reads the model takes what is later than what it has. `published_at` is past all of them.
-#}
{% macro built_now() -%}
    {%- if execute and is_published() -%}
    greatest(
            now(),
            (
                select published.published_at + interval '1 microsecond' from ops.published_mart as published
                where published.mart = '{{ this.identifier }}'
            )
        )
    {%- else -%}
    now()
    {%- endif -%}
{%- endmacro %}
