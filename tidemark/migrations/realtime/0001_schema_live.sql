-- Where dbt makes the views of what is live. Begun by the administrator, who is a member of every role.

create schema live authorization transformer;

set role transformer;

grant usage on schema live to bi_reader, catalog_reader;
alter default privileges for role transformer in schema live
grant select on tables to bi_reader, catalog_reader;
