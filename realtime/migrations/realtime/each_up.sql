-- No record has to wait for its day. A topic that is held up keeps no other from its days.
set role promoter;
do $$
declare
    topic text;
begin
    for topic in
        select relname from pg_class
        where relnamespace = 'realtime'::regnamespace and relkind = 'p'
        order by relname
    loop
        perform realtime.ensure_days_ahead(topic);
        commit;
    end loop;
end
$$;
