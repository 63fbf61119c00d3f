{#-
    A view is replaced where it stands. dbt's own way, a new view and then a drop of the old one with all that reads it,
    would leave readers of `live` without a view, and views that the run does not name without a replacement.
    Only where its columns changed must the old one go.
-#}
{% materialization view, adapter="postgres" -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type="view") -%}

    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}

    {%- if existing is not none and not existing.is_view %}
        {{ adapter.drop_relation(existing) }}
    {%- endif %}

    {% call statement("main") -%}
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
    {%- endcall %}

    {% do apply_grants(target_relation, config.get("grants"), should_revoke=existing is not none) %}
    {% do persist_docs(target_relation, model) %}

    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=false) }}

    {{ return({"relations": [target_relation]}) }}
{%- endmaterialization %}
