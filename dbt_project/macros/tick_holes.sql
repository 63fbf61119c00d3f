{#- The trade's number among its symbol's, of a venue that numbers them; null of any other. -#}
{% macro trade_number(tick, venues) -%}
    case
        when {{ venues }}.has_numbered_trades and {{ tick }}.trade_id ~ '^[0-9]{1,18}$'
            then {{ tick }}.trade_id::bigint
    end
{%- endmacro %}


{#- Whether numbers are missing between a trade and the one before it. `tick` has `trade_number` and `previous_number`. -#}
{% macro lacks_numbers(tick) -%}
    coalesce({{ tick }}.trade_number > {{ tick }}.previous_number + 1, false)
{%- endmacro %}


{#-
    Whether nothing was traded for `silence_minutes` before a trade while its venue was open: it never closes, or both
    trades are of one session. Where trades are numbered, numbers say more.
-#}
{% macro is_silence(tick, venues) -%}
    (
            ({{ tick }}.trade_number is null or {{ tick }}.previous_number is null)
            and {{ tick }}.traded_at - {{ tick }}.previous_at
            > interval '{{ var("silence_minutes") }} minutes'
            and (
                coalesce({{ venues }}.is_open_all_day, false)
                or {{ session_date(tick ~ ".traded_at", venues) }}
                = {{ session_date(tick ~ ".previous_at", venues) }}
            )
        )
{%- endmacro %}


{#-
    Why trades are missing, as far as the log tells. `between`: how many rows are here of the records between the two
    trades (`row_count`), and of other symbols of the source in that time (`source_row_count`).
-#}
{% macro hole_reason(hole, between) -%}
    case
            when {{ hole }}.received_at is null or {{ hole }}.previous_received_at is null then 'not known'
            when {{ hole }}.log_epoch <> {{ hole }}.previous_epoch then 'the log began anew'
            when
                {{ hole }}.kafka_partition <> {{ hole }}.previous_partition
                or {{ hole }}.kafka_offset < {{ hole }}.previous_offset
                then 'not known'
            when {{ hole }}.kafka_offset - {{ hole }}.previous_offset - 1 > {{ between }}.row_count
                then 'records of the log are no rows here'
            when {{ hole }}.missing_trade_count is not null then 'never came to the log'
            when {{ between }}.source_row_count > 0 then 'others of the source traded'
            else 'nothing of the source came'
        end
{%- endmacro %}


{#- A hole as `fct_tick_days` keeps it, and `fct_tick_holes` reads it. -#}
{% macro hole_as_json() -%}
    jsonb_build_object(
                'key', market_tick_key,
                'kind', case when missing_trade_count is null then 'silence' else 'missing trades' end,
                'reason', reason,
                'first', previous_number + 1,
                'last', trade_number - 1,
                'missing', missing_trade_count,
                'from', previous_at at time zone 'UTC',
                'to', traded_at at time zone 'UTC'
            )
{%- endmacro %}
