-- Whose ticks were deleted from the mart (TIDEMARK_WAREHOUSE_TICK_DAYS): bars of such a day are computed no more.

set role promoter;

create table ops.deleted_tick_day (
    instrument_key text not null,
    traded_date date not null,           -- UTC, of the venue's clock
    row_count bigint not null,
    deleted_at timestamptz not null default now(),
    primary key (instrument_key, traded_date)
);

grant select, insert, update, delete on ops.deleted_tick_day to transformer;
