-- What of this folder is in a database whose Tidemark kept no table of what was applied: the number, and what says so.
select
    case when to_regnamespace('ingestion') is null then 0 else 1 end as number,
    'schema ingestion' as evidence
