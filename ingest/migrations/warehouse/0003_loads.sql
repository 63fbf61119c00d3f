-- The ledger of loads of batch sources: which lake files their tables have. What came of `realtime` is in ops.promotion.

set role promoter;

create table ops.load (
    file_name text primary key,          -- below the lake's root
    source text not null,
    table_name text not null,            -- in schema ingestion
    load_id text not null,               -- when the source was asked, in seconds since 1970
    row_count bigint not null,           -- as its table has them
    noted_at timestamptz not null default now(),
    changed_at timestamptz not null default now()  -- when the count was last another one
);

grant select, insert, update, delete on ops.load to ingest_writer;
