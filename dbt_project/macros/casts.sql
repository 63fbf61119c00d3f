{#- Blank text is no value; any other text stays as it is. -#}
{% macro blank_to_null(column) -%}
    case when btrim({{ column }}) <> '' then {{ column }} end
{%- endmacro %}


{#-
    Whether the text is one of `data_type` that everybody reads alike. Of a day or a time one that begins with year, month
    and day, of the years 1 to 9999: Postgres takes `today`, `1/2/2024` and `44-03-15 BC` too, and years whose next day or
    whose minute it cannot compute, so that one such row would stop every model. By `like`, at the cost of one expression. Of a double a finite decimal: Postgres takes `NaN`,
    `infinity` and `0x1A` too, and one NaN makes the whole bar NaN.
-#}
{% macro is_castable(column, data_type) -%}
    pg_input_is_valid({{ column }}, '{{ data_type }}')
    {%- if data_type in ("date", "timestamptz") %}

        and {{ column }} like '____-__-__%' and {{ column }} >= '0' collate "C" and {{ column }} < ':' collate "C"
        and {{ column }} not like '%B%' and {{ column }} not like '%b%'
    {%- elif data_type == "double precision" %}
        and {{ column }} not like '%n%' and {{ column }} not like '%N%'
        and {{ column }} not like '%x%' and {{ column }} not like '%X%'
    {%- endif %}
{%- endmacro %}


{#- The text as `data_type`; null where it is blank or cannot be cast. `bad_casts` names the columns of the latter. -#}
{% macro cast_text(column, data_type) -%}
    case when {{ is_castable(column, data_type) }} then {{ column }}::{{ data_type }} end
{%- endmacro %}


{#-
    The text as a finite double; null where it is none: such a value is text, not a bad cast. What is a number is what the
    streaming lane takes for one (tidemark/numbers.py): Postgres alone would take 0x1A and infinity too.
-#}
{% macro finite_number(column) -%}
    case
        when
            {{ column }} ~ '^[ \t\r\n]*[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?[ \t\r\n]*$'
            and pg_input_is_valid({{ column }}, 'double precision')
            then {{ column }}::double precision
    end
{%- endmacro %}


{#-
    The names of the columns whose text is there but cannot be cast, as text[]; null where all could.
    `casts` maps column to data type, the same as given to cast_text; blank text is no value and no bad cast.
-#}
{% macro bad_casts(casts) -%}
    nullif(
        array_remove(
            array[
                {%- for column, data_type in casts.items() %}
                case
                    when btrim({{ column }}) <> '' and not ({{ is_castable(column, data_type) }})
                        then '{{ column }}'
                end
                {{- "," if not loop.last }}
                {%- endfor %}
            ],
            null
        ),
        '{}'
    )
{%- endmacro %}


{#- A double as the exact decimal that its shortest text says: a direct cast to numeric keeps 15 digits only. -#}
{% macro exact(column) -%}
    ({{ column }})::text::numeric
{%- endmacro %}
