with

-- The sources of the categories `economic_event_numeric` and `economic_event_text`, a line each.
final as (
    {{ unite([
        ref("int_observations_described"),
        ref("int_reference_rates_described"),
        ref("int_streamed_events_described"),
    ], event_columns()) }}
)

select * from final
