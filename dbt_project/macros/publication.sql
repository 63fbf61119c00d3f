{#-
    `ops.publication` says of each mart which run its rows are of, and whether one is under way. A run is noted when it
    begins and ends, also one that tests only; a mart in the transaction that changes it. Runs of a dev target are nobody's.
-#}
{% macro note_begin() -%}
    {%- if is_noted() -%}
    insert into ops.dbt_run (invocation_id, target, command, version, started_at)
    values (
        '{{ invocation_id }}', '{{ target.name }}', '{{ flags.WHICH }}',
        '{{ env_var("DBT_TIDEMARK_VERSION", "unknown") }}', clock_timestamp()
    );
    {%- endif -%}
{%- endmacro %}


{% macro note_end(results) -%}
    {%- if is_noted() -%}
        {%- set all = results
            | rejectattr("node.resource_type", "in", ["operation", "exposure"]) | list -%}
        {%- set ran = all | map(attribute="status") | map("string") | list -%}
        {%- set failed = all
            | selectattr("status", "in", ["error", "fail", "runtime error", "partial success"])
            | map(attribute="node.name") | list -%}
    update ops.dbt_run set
        finished_at = clock_timestamp(),
        failed_nodes = {{ failed | length }},
        failed_names = '{{ failed | join(", ") | replace("'", "''") }}',
        node_count = {{ ran | length }},
        warned_nodes = {{ ran | select("equalto", "warn") | list | length }},
        skipped_nodes = {{ ran | select("equalto", "skipped") | list | length }}
    where invocation_id = '{{ invocation_id }}';
    {%- endif -%}
{%- endmacro %}


{% macro note_mart() -%}
    {%- if is_published() -%}
    insert into ops.published_mart (mart, invocation_id, published_at)
    values ('{{ this.identifier }}', '{{ invocation_id }}', clock_timestamp())
    on conflict (mart) do update set
        invocation_id = excluded.invocation_id,
        published_at = greatest(excluded.published_at, published_mart.published_at + interval '2 microseconds')
    {%- endif -%}
{%- endmacro %}


{% macro is_published() -%}
    {{ return(is_noted() and flags.WHICH != "test") }}
{%- endmacro %}


{% macro is_noted() -%}
    {%- set is_run = flags.WHICH in ("run", "build", "retry", "test") -%}
    {{ return(execute and target.name == "warehouse" and is_run) }}
{%- endmacro %}
