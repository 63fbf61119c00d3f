-- Where dbt makes what was known of a mart as of a moment: a function and a view for each mart that has a rule for it.
-- Begun by the administrator, who is a member of every role.

create schema asof authorization transformer;

set role transformer;

grant usage on schema asof to catalog_reader, bi_reader;
alter default privileges for role transformer in schema asof
grant select on tables to catalog_reader, bi_reader;

-- The end of a day in UTC: what is dated by the day alone is known by then.
create function asof.end_of(day date) returns timestamptz
language sql immutable parallel safe as $$
    select ($1 + 1)::timestamp at time zone 'UTC'
$$;

-- The moment that the session's setting `tidemark.as_of` names: a moment with its offset, or a date, which is its end in
-- UTC; unset or empty is now. Whoever reads it says `(select asof.moment())`, which is asked once.
create function asof.moment() returns timestamptz
language plpgsql stable parallel safe as $$
declare
    said constant text := coalesce(btrim(current_setting('tidemark.as_of', true)), '');
begin
    if said = '' then
        return now();
    end if;
    if said ~ '^\d{4}-\d{2}-\d{2}$' then
        return asof.end_of(said::date);
    end if;
    if said ~ '^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.]\d+)?)? ?(Z|[+-]\d{2}(:?\d{2})?)$' then
        return said::timestamptz;
    end if;
    raise exception 'tidemark.as_of: expected a moment with its offset, such as 2024-11-03T16:00:00Z, or a date, '
        'received %', quote_literal(said)
        using errcode = 'invalid_parameter_value', hint = 'set tidemark.as_of to such a text; empty is now';
end
$$;

revoke execute on function asof.end_of(date), asof.moment() from public;
grant execute on function asof.end_of(date), asof.moment() to catalog_reader, bi_reader;
