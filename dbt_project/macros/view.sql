{#-
    A view is replaced where it stands, and one that did not change is left alone: its replacement would wait for whoever
    reads it, and everybody else behind it. dbt's own way, a new view and then a drop of the old one with all that reads
    it, would leave readers of `live` without a view, and views that the run does not name without a replacement.
    Only where its columns changed must the old one go.
-#}
{% materialization view, adapter="postgres" -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="view") -%}

    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}

    {%- if config.get("contract").enforced %}
        {%- do get_assert_columns_equivalent(sql) %}
    {%- endif %}

    {%- if existing is not none and not existing.is_view %}
        {{ adapter.drop_relation(existing) }}
    {%- endif %}

    {% call statement("main") -%}
        {%- if existing is not none and existing.is_view and is_same_view(existing, sql) %}
        select 'left alone'
        {%- else %}
        do $dbt$
        begin
            create or replace view {{ target_relation }} as (
                {{ sql }}
            );
        exception when invalid_table_definition then
            drop view {{ target_relation }} cascade;
            create view {{ target_relation }} as (
                {{ sql }}
            );
        end
        $dbt$
        {%- endif %}
    {%- endcall %}

    {% do apply_grants(target_relation, config.get("grants"), should_revoke=existing is not none) %}
    {% do persist_docs(target_relation, model) %}

    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=false) }}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}


{#- Whether the statement would make the view that is there: Postgres says so of a temporary one, in its own words. -#}
{% macro is_same_view(existing, sql) -%}
    {%- set candidate = "pg_temp." ~ adapter.quote(existing.identifier ~ "__candidate") -%}
    {%- do run_query("create temporary view " ~ candidate.removeprefix("pg_temp.") ~ " as (" ~ sql ~ ")") -%}
    {#- It may have gone since dbt looked: with a view that it reads, whose columns changed in this run. -#}
    {%- set answer = run_query(
        "select coalesce(pg_get_viewdef('" ~ candidate ~ "'::regclass) = pg_get_viewdef(to_regclass('"
        ~ existing.include(database=false) ~ "')), false)"
    ) -%}
    {%- do run_query("drop view " ~ candidate) -%}
    {{ return(answer.rows[0][0]) }}
{%- endmacro %}
