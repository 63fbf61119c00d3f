{{ config(alias="feed_health") }}
{#- How far back the rate of each topic looks: ticks come by the second, events by the hour. -#}
{%- set topics = {
    "market_tick": {"name": "symbol", "time": "timestamp", "window": "1 minute", "minutes": 1},
    "order_book_l2": {"name": "symbol", "time": "received_at", "window": "1 minute", "minutes": 1},
    "economic_event_numeric": {"name": "event_publisher", "time": "received_at", "window": "1 hour", "minutes": 60},
    "economic_event_text": {"name": "event_publisher", "time": "received_at", "window": "1 hour", "minutes": 60},
} -%}
with

feeds as (

    select * from {{ source("streaming", "feed") }}

),

-- From the rows themselves, by the index of each topic: of ticks, the newest by the venue's clock, whose minute leads it.
measured as (
    {%- for topic, by in topics.items() %}

    select
        feeds.topic,
        feeds.source_system,
        feeds.name,
        recent.rows_per_minute,
        recent.last_received_at
    from feeds
    left join
        lateral (
            select newest.{{ by.time }} - interval '{{ by.window }}' as begins_at
            from {{ source("streaming", topic) }} as newest
            where newest.source_system = feeds.source_system and newest.{{ by.name }} = feeds.name
            order by
                {%- if topic == "market_tick" %}
                {{ minute_of("newest.timestamp") }} desc,
                {%- endif %}
                newest.{{ by.time }} desc
            limit 1
        ) as recently
        on true
    cross join
        lateral (
            select
                count(1) / {{ by.minutes }}::double precision as rows_per_minute,
                max(records.received_at) as last_received_at
            from {{ source("streaming", topic) }} as records
            where
                records.source_system = feeds.source_system
                and records.{{ by.name }} = feeds.name
                and records.{{ by.time }} > recently.begins_at
                {%- if topic == "market_tick" %}
                and {{ minute_of("records.timestamp") }} >= {{ minute_of("recently.begins_at") }}
                {%- endif %}
        ) as recent
    where feeds.topic = '{{ topic }}'
    {{ "union all" if not loop.last }}
    {%- endfor %}

),

final as (

    select
        topic,
        source_system,
        name,
        rows_per_minute,
        last_received_at,
        now() - last_received_at as silent_for
    from measured

)

select * from final
