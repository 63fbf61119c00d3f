{#-
    What `--empty` and `--sample` may do. A view holds no row, and is made as always: one over an empty relation would show
    nothing to whoever reads it, until the next build. A table gets no row by `--empty`, and keeps those it has. What would
    take rows from those who read is refused: a new table without rows, and a sample, after which a table takes all that
    it left out for loaded. On a dev target nobody else reads. A subquery needs no name of dbt's, so that it may have the
    model's.
-#}
{% macro ref() -%}
    {{ return(of_this_run(builtins.ref(*varargs, **kwargs))) }}
{%- endmacro %}


{% macro source() -%}
    {{ return(of_this_run(builtins.source(*varargs, **kwargs))) }}
{%- endmacro %}


{% macro of_this_run(relation) -%}
    {%- if not execute or (relation.limit is none and relation.event_time_filter is none) -%}
        {{ return(relation) }}
    {%- endif -%}
    {%- if model.resource_type == "model" and model.config.materialized == "view" -%}
        {{ return(relation.replace(limit=none, event_time_filter=none)) }}
    {%- endif -%}
    {%- if not is_dev() and relation.event_time_filter is not none -%}
        {{ exceptions.raise_compiler_error(
            "--sample: expected --target dev, received " ~ target.name ~ ", whose tables would never get the rest"
        ) }}
    {%- endif -%}
    {%- if not is_dev() and flags.FULL_REFRESH -%}
        {{ exceptions.raise_compiler_error(
            "--empty with --full-refresh: expected --target dev, received " ~ target.name
            ~ ", whose tables would lose their rows"
        ) }}
    {%- endif -%}
    {{ return(relation.replace(require_alias=false)) }}
{%- endmacro %}


{#-
    `dbt show` has no table to add to: of an incremental model it shows what the model gives, not the nothing that is new.
    With the variable `as_declared` no database is asked whether the table is there.
-#}
{% macro is_incremental() -%}
    {{ return(flags.WHICH != "show" and not var("as_declared") and dbt.is_incremental()) }}
{%- endmacro %}
