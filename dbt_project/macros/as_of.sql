{#-
    What was known of a mart at a moment, by the rule `as_of` in its model's meta: `known`, the column from which on a row
    was known; `until`, the one from which on it was not any more; `shown`, columns that would tell what came later, and
    what is shown instead; or `query`, a macro that gives the whole. A post-hook of every mart: each has

        asof.<mart>(moment timestamptz)   for whoever names the moment, inlined into the statement that asks
        asof.<mart>(day date)             the same as of the day's end in UTC
        asof.<mart>                       a view as of the session's `tidemark.as_of` (asof.moment)

    The functions are text and the view reads a function, so a swap of the table (a full refresh) neither drops nor locks
    them; they are made again where the rule or the columns changed. The view's scalar subquery is asked once, not for
    each row, and lateral, as no function with a subquery for its argument is inlined. Nobody reads a dev target's.
-#}
{% macro make_as_of() -%}
    {%- set rule = model.config.get("meta", {}).get("as_of") -%}
    {%- if rule and execute and not is_dev() and not is_made_as_of(as_of_body(rule)) -%}
        {%- set name = "asof." ~ this.identifier -%}
    -- What a body reads may be built later in the run.
    set local check_function_bodies = off;
    drop function if exists {{ name }}(timestamptz) cascade;
    drop function if exists {{ name }}(date) cascade;
    create function {{ name }}(moment timestamptz) returns {{ as_of_columns() }}
    language sql stable parallel safe as $as_of${{ as_of_body(rule) }}$as_of$;
    create function {{ name }}(day date) returns {{ as_of_columns() }}
    language sql stable parallel safe as $as_of$select * from {{ name }}(asof.end_of($1))$as_of$;
    create view {{ name }} as
    select known.*
    from (select (select asof.moment()) as moment) as asked
    cross join lateral {{ name }}(asked.moment) as known;
    revoke execute on function {{ name }}(timestamptz), {{ name }}(date) from public;
    grant execute on function {{ name }}(timestamptz), {{ name }}(date) to catalog_reader;
    comment on view {{ name }} is
    '{{ this.include(database=False) | replace('"', "") }} as it was known at tidemark.as_of: a moment with its offset, or a date; empty is now.';
    {%- endif -%}
{%- endmacro %}


{#- Whether the functions and the view are there as they would be made. -#}
{% macro is_made_as_of(body) -%}
    {%- set name = "asof." ~ this.identifier -%}
    {%- set found = run_query(
        "select count(1) from pg_proc where oid = to_regprocedure('" ~ name ~ "(timestamptz)') "
        ~ "and to_regprocedure('" ~ name ~ "(date)') is not null and to_regclass('" ~ name ~ "') is not null "
        ~ "and prosrc = $as_of$" ~ body ~ "$as_of$ and pg_get_function_result(oid) = $as_of$" ~ as_of_columns(true)
        ~ "$as_of$"
    ) -%}
    {{ return(found.rows[0][0] == 1) }}
{%- endmacro %}


{#- The mart's columns by its contract; `by_postgres`: as Postgres would say them. -#}
{% macro as_of_columns(by_postgres=false) -%}
    {%- set said = [] -%}
    {%- for column in model.columns.values() -%}
        {%- set type = column.data_type | replace("timestamptz", "timestamp with time zone") -%}
        {%- do said.append(column.name ~ " " ~ (type if by_postgres else column.data_type)) -%}
    {%- endfor -%}
    {{ return(("TABLE(" if by_postgres else "table (") ~ said | join(", ") ~ ")") }}
{%- endmacro %}


{% macro as_of_body(rule) -%}
    {%- if rule.query is defined -%}
        {{ return(context[rule.query]() | trim) }}
    {%- endif -%}
    {%- set shown = [] -%}
    {%- for column in model.columns -%}
        {%- do shown.append(rule.get("shown", {})[column] ~ " as " ~ column if column in rule.get("shown", {}) else column) -%}
    {%- endfor -%}
    {{ return(
        "select " ~ shown | join(", ") ~ " from " ~ this.include(database=False) ~ " where " ~ rule.known ~ " <= $1"
        ~ (" and (" ~ rule.until ~ " is null or " ~ rule.until ~ " > $1)" if rule.until is defined else "")
    ) }}
{%- endmacro %}


{#-
    `fct_fx_rates` keeps the last statement of each rate. What was known before is in the vintages of the ECB's series:
    filled from them as the mart is, in the order of its columns.
-#}
{% macro fx_rates_as_of() -%}
    select
        {{ joined_key(["source_system", "currency"]) }} || ':' || rate_date::date,
        source_system,
        currency,
        {{ exact("value") }},
        rate_date::date - source_date,
        rate_date::date <> source_date,
        rate_date::date,
        source_date,
        loaded_at
    from (
        select
            source_system,
            series_id as currency,
            value,
            reference_date as source_date,
            lead(reference_date) over (
                partition by source_system, series_id order by reference_date
            ) as next_date,
            loaded_at
        from {{ this.incorporate(path={"identifier": "fct_economic_observations"}).include(database=false) }}
        where
            unit = series_id || ' per EUR' and value is not null
            and available_at <= $1 and (superseded_at is null or superseded_at > $1)
    ) as rated
    cross join
        lateral generate_series(
            source_date::timestamp,
            coalesce(next_date - 1, source_date)::timestamp,
            interval '1 day'
        ) as days (rate_date)
{%- endmacro %}
