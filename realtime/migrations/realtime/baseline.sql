-- What of this folder is in a database whose Tidemark kept no table of what was applied: the number, and what says so.
with found as (
    select
        to_regclass('realtime.log_epoch') is not null as made,
        (
            select count(1) from pg_attribute
            where attrelid = to_regclass('realtime.consumer_offset') and attname = 'closed_at'
        ) as closed_at,
        (
            select count(1) from pg_attribute
            where attrelid = to_regclass('realtime.market_tick') and attname = 'trade_key'
        ) as trade_key
)

select
    case
        when not made then 0
        when closed_at = 0 and trade_key = 0 then 1
        when closed_at = 1 and trade_key = 1 then 2
    end as number,
    format(
        'realtime.consumer_offset %s closed_at, realtime.market_tick %s trade_key',
        case closed_at when 1 then 'has' else 'lacks' end,
        case trade_key when 1 then 'has' else 'lacks' end
    ) as evidence
from found
