-- The names of the models and tests that failed in a run of dbt, beside their number; of earlier runs nobody kept them.

set role promoter;

alter table ops.dbt_run add column failed_names text;
