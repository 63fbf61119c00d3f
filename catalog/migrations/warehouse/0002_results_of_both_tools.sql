-- One place for what Soda, dbt and our own comparisons find: a row a check a run. Begun by the administrator, who is a
-- member of every role.

set role catalog_reader;

alter table quality.check_result rename to results;
alter table quality.results rename column contract to table_name;
alter table quality.results
add column run_id text,                  -- dbt's invocation, or of `tidemark check`
add column tool text,                    -- soda, dbt, tidemark (`tidemark check --deep`)
add column check_type text,              -- missing, failed_rows, unique_combination, unit_test, ..
add column severity text,                -- error: it fails who asks; warn
add column sample jsonb not null default '[]',  -- up to ten failing rows
add column owner text;                   -- who is to look at it

update quality.results
set
    run_id = numbered.run_id,
    severity = 'error',
    check_type = 'unknown',
    tool = case when check_name like 'every row as %' then 'tidemark' else 'soda' end
from (
    select
        ctid as place,
        checked_at::text || '/'
        || row_number() over (partition by checked_at, dataset, check_name order by ctid) as run_id
    from quality.results
) as numbered
where results.ctid = numbered.place;

alter table quality.results
alter column run_id set not null,
alter column tool set not null,
alter column check_type set not null,
alter column severity set not null,
add primary key (run_id, dataset, check_name);

create index results_last on quality.results (dataset, check_name, checked_at);

-- What its runs found, dbt's role notes itself; rows as they were sent are for nobody who may not read their tables.
grant usage on schema quality to transformer;
grant select, insert on quality.results to transformer;
