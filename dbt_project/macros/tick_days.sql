{#-
    Ticks older than so many days go from `fct_market_ticks`, day by day of each instrument, and are noted in
    `ops.deleted_tick_day`: `dbt run-operation delete_old_ticks --args '{days: 400}'`. What tests still look at stays, and
    the newest load of each source, which says what is new; so do ticks that not every model computed of them has read.
-#}
{% macro delete_old_ticks(days) -%}
    {%- set ticks = api.Relation.create(database=target.dbname, schema="marts", identifier="fct_market_ticks") -%}
    {%- set read = [] -%}
    {%- for reader, clock in ticks_readers().items() -%}
        {%- set relation = ticks.replace_path(identifier=reader) -%}
        {%- if not load_relation(ticks) or not load_relation(relation) -%}
            {{ return(none) }}
        {%- endif -%}
        {%- do read.append(newest(relation, clock)) -%}
    {%- endfor -%}
    {%- set noted -%}
        with recursive instruments as (
            (select instrument_key from {{ ticks }} order by instrument_key limit 1)
            union all
            select (
                select other.instrument_key from {{ ticks }} as other
                where other.instrument_key > instruments.instrument_key
                order by other.instrument_key
                limit 1
            )
            from instruments
            where instruments.instrument_key is not null
        ),

        source_tables as (
            select source_table, max(loaded_at) as loaded_at from {{ ticks }} group by source_table
        ),

        gone as (
            delete from {{ ticks }} as ticks
            using instruments, source_tables
            where
                ticks.instrument_key = instruments.instrument_key
                and ticks.traded_at < date_trunc('day', now(), 'UTC') - {{ days | int }} * interval '1 day'
                and ticks.loaded_at < now() - interval '{{ var("recent") }}'
                and ticks.built_at <= least({{ read | join(", ") }})
                and ticks.source_table = source_tables.source_table
                and ticks.loaded_at < source_tables.loaded_at
            returning ticks.instrument_key, {{ day_of("ticks.traded_at") }} as traded_date
        ),

        counted as (
            select instrument_key, traded_date, count(1) as row_count
            from gone
            group by instrument_key, traded_date
        )

        insert into ops.deleted_tick_day as noted (instrument_key, traded_date, row_count)
        select instrument_key, traded_date, row_count from counted
        on conflict (instrument_key, traded_date) do update
            set row_count = noted.row_count + excluded.row_count, deleted_at = excluded.deleted_at
        returning row_count
    {%- endset -%}
    {%- set found = run_query(noted) -%}
    {%- do run_query("commit") -%}
    {{ return(found.rows | length) }}
{%- endmacro %}


{#- The models that need every tick once, with the column that says how far they have read (refuse_without_ticks). -#}
{% macro ticks_readers() -%}
    {{ return({
        "fct_bars_1m": "built_at",
        "fct_bars_1h": "built_at",
        "fct_bars_1d": "built_at",
        "fct_tick_days": "built_at",
        "dim_instruments": "ticks_built_at",
    }) }}
{%- endmacro %}


{#- Days whose ticks are all here again: `fct_market_ticks` was built anew of the ingestion table, which keeps them. -#}
{% macro forget_deleted_tick_days() -%}
    {%- if not is_incremental() and not is_dev() -%}
        delete from ops.deleted_tick_day
    {%- endif -%}
{%- endmacro %}


{#-
    Bars of days without ticks would be lost: a build from nothing is refused as long as ticks are missing. It also makes
    the model need `int_tick_days_deleted`, which it reads only where it adds to what is there.
-#}
{% macro refuse_without_ticks(deleted) -%}
    {%- if execute and flags.WHICH in ("run", "build") and model.resource_type == "model"
        and not is_incremental() and not is_dev() -%}
        {%- set noted = api.Relation.create(database=target.dbname, schema="ops", identifier="deleted_tick_day") -%}
        {%- set counted = "select count(distinct traded_date), coalesce(sum(row_count), 0) from " ~ noted -%}
        {%- set days, rows = run_query(counted).rows[0] if load_relation(noted) else (0, 0) -%}
        {%- if days > 0 -%}
            {{ exceptions.raise_compiler_error(
                this.identifier ~ ": expected every tick, found that " ~ rows ~ " of " ~ days
                ~ " days were deleted (TIDEMARK_WAREHOUSE_TICK_DAYS): what was computed of them would be lost. Build the "
                ~ "ticks anew with it, by `tidemark models rebuild fct_market_ticks`: the ingestion table has all of them"
            ) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#- Whether no tick of the row's instrument and day was deleted. `deleted`: int_tick_days_deleted. -#}
{% macro has_its_ticks(deleted, instrument_key, traded_date) -%}
    not exists (
        select 1 from {{ deleted }} as deleted
        where
            deleted.instrument_key = {{ instrument_key }}
            and deleted.traded_date = {{ traded_date }}
    )
{%- endmacro %}
