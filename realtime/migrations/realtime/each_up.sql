-- No record has to wait for its day.
set role promoter;
select realtime.ensure_days_ahead();
