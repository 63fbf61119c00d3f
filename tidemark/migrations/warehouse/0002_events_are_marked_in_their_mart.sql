-- `marts.fct_economic_events` marks events now; what dbt made for it before is read by nothing.

set role transformer;

drop table if exists intermediate.int_events_marked;
