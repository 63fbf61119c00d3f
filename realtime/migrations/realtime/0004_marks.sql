-- By what the record that was taken last is known again, should the log have lost its tail and been filled anew.
-- Null until the next commit of a partition: what was stored before has no mark.
set role promoter;

alter table realtime.consumer_offset
add column last_offset bigint,
add column last_leader_epoch integer,
add column last_batch_crc bigint,         -- of its batch, as Kafka stores it (unsigned, 32 bits)
add column last_timestamp_ms bigint;      -- since 1970; whose clock, the topic's setting says

grant update (last_offset, last_leader_epoch, last_batch_crc, last_timestamp_ms)
on realtime.consumer_offset
to stream_writer;
