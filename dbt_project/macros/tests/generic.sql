{#- No two rows share these columns' values. -#}
{% test unique_combination(model, columns) %}
    select {{ columns | join(", ") }}, count(1) as row_count
    from {{ model }}
    group by {{ columns | join(", ") }}
    having count(1) > 1
{% endtest %}


{#- None of these columns is null or, as text, blank; one pass for all of them. -#}
{% test not_blank(model, columns) %}
    select {{ columns | join(", ") }}
    from {{ model }}
    where {% for column in columns %}nullif(btrim({{ column }}::text), '') is null{{ " or " if not loop.last }}{% endfor %}
{% endtest %}


{#- A condition that holds for every row. -#}
{% test holds(model, condition) %}
    select *
    from {{ model }}
    where not coalesce(({{ condition }}), false)
{% endtest %}


{#- No two patterns of dbt_project.yml match one instrument: the more specific one counts, which may not be what was meant. -#}
{% test matched_by_one_pattern(model, listed) %}
    select
        instruments.instrument_key,
        string_agg(listed.pattern, ' and ' order by {{ most_specific("listed") }}) as patterns
    from {{ model }} as instruments
    inner join {{ listed }} as listed on {{ is_listed("listed", "instruments") }}
    where listed.is_current
    group by instruments.instrument_key
    having count(1) > 1
{% endtest %}


{#- A model whose rows are findings: each is a failure, and `fail_calc` counts what each stands for. -#}
{% test is_empty(model) %}
    select *
    from {{ model }}
{% endtest %}


{#- Of the recent loads, as many rows as another model has of those that the condition names. -#}
{% test same_count(model, compare_model, compare_condition="true") %}
    with

    counted as (
        select
            (select count(1) from {{ model }} where {{ is_recent() }}) as row_count,
            (select count(1) from {{ compare_model }} where {{ is_recent() }} and {{ compare_condition }}) as expected_count
    )

    select *
    from counted
    where row_count <> expected_count
{% endtest %}


{#- The same sum as over another model. -#}
{% test same_sum(model, compare_model, expression, compare_expression) %}
    with

    summed as (
        select
            (select coalesce(sum({{ expression }}), 0) from {{ model }}) as total,
            (select coalesce(sum({{ compare_expression }}), 0) from {{ compare_model }}) as expected_total
    )

    select *
    from summed
    where total <> expected_total
{% endtest %}


{#- Loads that a daily check still has to look at: what is older was looked at, and never changes. -#}
{% macro is_recent() -%}
    loaded_at > current_timestamp - interval '{{ var("recent") }}'
{%- endmacro %}


{#- Each value of the column, where it has one, is there in another model. -#}
{% test related(model, column, to, field) %}
    with

    referring as (
        select distinct {{ column }} as referring_value
        from {{ model }}
        where {{ column }} is not null
    )

    select *
    from referring
    where not exists (
            select 1 from {{ to }} as referred
            where referred.{{ field }} = referring.referring_value
        )
{% endtest %}


{#- The bars count every trade once, but of days whose ticks were deleted: as many as there are, by instrument. -#}
{% test counts_every_trade(model, ticks, deleted) %}
    with

    expected as (
        select instrument_key, count(1) as trade_count
        from {{ ticks }} as ticks
        where {{ is_counted_tick() }}
            and not exists (
                select 1 from {{ deleted }} as deleted
                where deleted.instrument_key = ticks.instrument_key and deleted.traded_date = {{ day_of("ticks.traded_at") }}
            )
        group by instrument_key
    ),

    found as (
        select instrument_key, sum(trade_count) as trade_count
        from {{ model }} as bars
        where not exists (
            select 1 from {{ deleted }} as deleted
            where deleted.instrument_key = bars.instrument_key and deleted.traded_date = {{ day_of("bars.bar_start_at") }}
        )
        group by instrument_key
    )

    select *
    from expected
    full outer join found using (instrument_key)
    where expected.trade_count is distinct from found.trade_count
{% endtest %}
