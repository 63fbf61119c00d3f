-- What came since an offset is found by blocks, in the order in which they were written: a few bytes for every 32 of
-- them, made when they are vacuumed. What was written since then is looked through.

set role promoter;

create index market_tick_arrivals on realtime.market_tick
using brin (kafka_offset int8_minmax_multi_ops) with (pages_per_range = 32);
