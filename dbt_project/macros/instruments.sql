{#-
    What a symbol says of its instrument, as ccxt writes it: `BTC/USDT` is spot, `BTC/USDT:USDT` a perpetual swap that
    settles in USDT, `BTC/USD:BTC-241227` a future, `BTC/USD:BTC-241227-60000-C` an option. Any other symbol says
    nothing. The parts as text[]: base, quote, settlement, expiry as YYMMDD, strike, C or P.
-#}
{% macro symbol_parts(symbol) -%}
    regexp_match(
        {{ symbol }},
        '^([^/:]+)/([^/:]+)(?::([^-]+)(?:-([0-9]{6})(?:-([0-9.]+)-([CP]))?)?)?$'
    )
{%- endmacro %}


{#-
    The unit of a tick's size, and so of a bar's volume: the base currency of a spot pair, contracts of what settles, else
    what dbt_project.yml says of the source's venue at that time, the later of its lines first; null where nothing says.
-#}
{% macro size_unit(source_system, symbol, at) -%}
    case
        when {{ symbol }} ~ '^[^/:]+/[^/:]+$' then split_part({{ symbol }}, '/', 1)
        when {{ symbol }} ~ '^[^/:]+/[^/:]+:' then 'contracts'
        {%- for venue in var("venues") | reverse if venue.size_unit is defined %}
        when {{ source_system }} = '{{ venue.source_system }}' and {{ at }} >= timestamptz '{{ venue.effective_at }}' then '{{ venue.size_unit }}'
        {%- endfor %}
    end
{%- endmacro %}


{#-
    A list of `vars` in dbt_project.yml as rows; `columns` maps the keys that an entry may have to data types, and what it
    lacks is null. A key that nothing reads, or an entry that does not say from when it holds, is refused.
-#}
{% macro listed(name, columns) -%}
    {%- for entry in var(name) %}
    {%- set unknown = entry | reject("in", columns) | list %}
    {%- set missing = ["source_system", "effective_at", "known_at"] | reject("in", entry) | list %}
    {%- if execute and (unknown or missing) %}
        {{ exceptions.raise_compiler_error(
            "dbt_project.yml, vars, entry " ~ loop.index ~ " of " ~ name ~ ": expected the keys "
            ~ columns | join(", ") ~ ", of them source_system, effective_at and known_at in each entry; received "
            ~ entry | join(", ") ~ (": nothing reads " ~ unknown | join(", ") if unknown else "")
            ~ (": " ~ missing | join(", ") ~ " is missing" if missing else "")
        ) }}
    {%- endif %}
    select
        {%- for name, data_type in columns.items() %}
        {% if entry[name] is defined and entry[name] is not none -%}
            {{ dbt.string_literal(dbt.escape_single_quotes(entry[name] | string)) }}::{{ data_type }}
        {%- else -%}
            null::{{ data_type }}
        {%- endif %} as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select
        {%- for name, data_type in columns.items() %}
        null::{{ data_type }} as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    where false
    {%- endfor %}
{%- endmacro %}


{#- Whether a line of `instruments` is of an instrument: its pattern matches the symbol of the source. -#}
{% macro is_listed(listed, instrument) -%}
    {{ instrument }}.source_system = {{ listed }}.source_system
    and {{ instrument }}.symbol ~ {{ listed }}.pattern
{%- endmacro %}


{#- Of several patterns that match a symbol the longest counts, and of equally long ones the first by its letters. -#}
{% macro most_specific(listed) -%}
    length({{ listed }}.pattern) desc, {{ listed }}.pattern collate "C" asc
{%- endmacro %}


{#-
    The day of a venue's session that a time lies in: the date of its local clock once the shift is added, by which a
    session begins before midnight. A venue that nothing is said of has days of UTC.
-#}
{% macro session_date(at, venue) -%}
    (
        {{ at }} at time zone coalesce({{ venue }}.time_zone, 'UTC')
        + coalesce({{ venue }}.session_shift, interval '0')
    )::date
{%- endmacro %}


{#- The first instant of a venue's session; of the day after it, its end. -#}
{% macro session_start(day, venue) -%}
    (({{ day }})::timestamp - coalesce({{ venue }}.session_shift, interval '0'))
    at time zone coalesce({{ venue }}.time_zone, 'UTC')
{%- endmacro %}


{#- Whether what is listed held at a time: facts join by when it took effect, never by when it was known. -#}
{% macro is_effective(listed, at) -%}
    {{ at }} >= {{ listed }}.effective_at
    and ({{ listed }}.superseded_at is null or {{ at }} < {{ listed }}.superseded_at)
{%- endmacro %}


{#- The terms of an instrument, of `parts.said` (what its symbol says), `listed` and `venues`: what is listed counts more. -#}
{% macro instrument_terms() -%}
    coalesce(
            listed.instrument_kind,
            case
                when parts.said[6] is not null then 'option'
                when parts.said[4] is not null then 'future'
                when parts.said[3] is not null then 'swap'
                when parts.said[1] is not null then 'spot'
                when venues.venue_kind = 'equities' then 'equity'
            end
        ) as instrument_kind,
        coalesce(listed.base_currency, parts.said[1]) as base_currency,
        coalesce(listed.quote_currency, parts.said[2], venues.currency) as quote_currency,
        parts.said[3] as settlement_currency,
        coalesce(
            listed.contract_unit, case when parts.said[3] is null then parts.said[1] end
        ) as contract_unit,
        coalesce(
            listed.contract_size, case when parts.said[3] is null and parts.said[1] is not null then 1 end
        ) as contract_size,
        coalesce(listed.expiry_date, {{
            cast_text("regexp_replace(parts.said[4], '(..)(..)(..)', '20\\1-\\2-\\3')", "date")
        }}) as expiry_date
{%- endmacro %}
