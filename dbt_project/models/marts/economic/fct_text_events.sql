{{
    config(
        unique_key="event_key",
        merge_update_columns=["is_repeat", "is_latest"],
        indexes=[
            {"columns": ["observation_key"]},
            {"columns": ["received_at"]},
            {"columns": ["source_table", "loaded_at"]},
        ],
    )
}}
{{ events_fact(ref("int_text_events_united")) }}
