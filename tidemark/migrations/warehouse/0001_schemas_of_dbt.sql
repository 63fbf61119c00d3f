-- Where dbt makes the models. Begun by the administrator, who is a member of every role.

create schema staging authorization transformer;
create schema intermediate authorization transformer;
create schema marts authorization transformer;

set role transformer;

grant usage on schema staging, intermediate to catalog_reader;
grant usage on schema marts to promoter, catalog_reader, bi_reader;
alter default privileges for role transformer in schema staging
grant select on tables to catalog_reader;
alter default privileges for role transformer in schema intermediate
grant select on tables to catalog_reader;
alter default privileges for role transformer in schema marts
grant select on tables to promoter, catalog_reader, bi_reader;
