{#- The columns that every event has, of whatever source and lane: `value` is a number, or `text_value` a text. -#}
{% macro event_columns() -%}
    {{ return([
        "event_key",
        "observation_key",
        "category",
        "source_table",
        "source_system",
        "event_publisher",
        "series_id",
        "unit",
        "description",
        "load_id",
        "file_name",
        "text_value",
        "attributes",
        "value",
        "log_epoch",
        "kafka_partition",
        "kafka_offset",
        "reference_date",
        "vintage_date",
        "vintage_end_date",
        "received_at",
        "loaded_at",
    ]) }}
{%- endmacro %}


{#- The publisher's vintage first, then the warehouse's own arrival, then the place in the log or in the lake. -#}
{% macro event_order() -%}
    vintage_date nulls first, loaded_at, log_epoch, kafka_partition, kafka_offset, file_name, event_key
{%- endmacro %}


{#-
    Why a row of staging is no event, as text; null where it is one. Such a row is in `rpt_rejected_rows` instead, by its
    identity, and holds up nothing. `needs`: columns that must say something; `dates`: that cannot be after the load. A day
    begins up to 14 hours before it does in UTC.
-#}
{% macro rejection(needs=[], dates=[], period=none) -%}
    case
        when bad_casts is not null then 'text that cannot be cast: ' || array_to_string(bad_casts, ', ')
        {%- for column in needs %}
        when {{ column }} is null then 'without {{ column }}'
        {%- endfor %}
        {%- if period %}
        when {{ period[1] }} < {{ period[0] }} then '{{ period[1] }} before {{ period[0] }}'
        {%- endif %}
        {%- for column in dates %}
        when {{ column }} > (loaded_at at time zone 'UTC' + interval '14 hours')::date
            then '{{ column }} after the load'
        {%- endfor %}
    end
{%- endmacro %}


{#- The rules of each staging model of events, once: what they refuse is rejected, all else is an event. -#}
{% macro rejection_of(name) -%}
    {%- set rules = {
        "stg_fred__observations": rejection(
            ["series_id", "reference_date", "value_text"],
            ["vintage_date"],
            ["vintage_date", "vintage_end_date"],
        ),
        "stg_ecb__reference_rates": rejection(["reference_date"], ["reference_date"]),
        "stg_realtime__numeric_events": rejection(
            ["value"], ["vintage_date"], ["vintage_date", "vintage_end_date"]
        ),
        "stg_realtime__text_events": rejection([], ["vintage_date"], ["vintage_date", "vintage_end_date"]),
    } -%}
    {{ return(rules[name]) }}
{%- endmacro %}


{#- The instant at which a day of the calendar has ended everywhere that matters here: its end in UTC. -#}
{% macro end_of_day(column) -%}
    ((({{ column }}) + 1)::timestamp at time zone 'UTC')
{%- endmacro %}


{#- When the ECB publishes the rates of a day: 16:00 in Frankfurt. -#}
{% macro ecb_published_at(column) -%}
    (({{ column }}) + time '16:00') at time zone 'Europe/Berlin'
{%- endmacro %}


{#-
    When an event could be known, never earlier than it was. Of a record that arrived on the day of its vintage, or that
    has none, its arrival; else the end of the vintage's day. The ECB says no vintage: a rate is published at 16:00 of
    Frankfurt, and what a later load says otherwise was there when the load was made.
-#}
{% macro available_at() -%}
    case
        when {{ is_known_by_arrival() }} then received_at
        when vintage_date is not null then {{ end_of_day("vintage_date") }}
        when {{ is_of_schedule() }} then {{ ecb_published_at("reference_date") }}
        else loaded_at
    end
{%- endmacro %}


{#- How well that is known: `exact`, `date` or `scheduled`. -#}
{% macro availability_precision() -%}
    case
        when {{ is_known_by_arrival() }} then 'exact'
        when vintage_date is not null then 'date'
        when {{ is_of_schedule() }} then 'scheduled'
        else 'exact'
    end
{%- endmacro %}


{% macro is_known_by_arrival() -%}
    received_at is not null
            and coalesce(
                received_at >= vintage_date::timestamp at time zone 'UTC'
                and received_at < {{ end_of_day("vintage_date") }},
                true
            )
{%- endmacro %}


{#- The first statement of a rate, which was loaded after its time. -#}
{% macro is_of_schedule() -%}
    source_table = 'ecb__reference_rates'
            and event_key = observation_key || ':1'
            and {{ ecb_published_at("reference_date") }} <= loaded_at
{%- endmacro %}
