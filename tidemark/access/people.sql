-- People change nothing: a grant of what a role has already is refused nobody, only ignored, but it writes the
-- catalogue's row of the table, and whoever builds that table waits for it or fails. Run by a superuser.

create schema if not exists access;
grant usage on schema access to public;

create or replace function access.refuse_people() returns event_trigger
language plpgsql set search_path = pg_catalog as $$
begin
    if not (select rolsuper from pg_roles where rolname = session_user) and not exists (
        select from pg_roles
        where rolname = any({parts})
        and pg_has_role(session_user, oid, 'member')
    ) then
        raise exception 'expected a part of Tidemark, or an administrator, to change the database: % is neither',
            session_user using errcode = 'insufficient_privilege';
    end if;
end
$$;

drop event trigger if exists refuse_people;
create event trigger refuse_people on ddl_command_start execute function access.refuse_people();
