with

observations as (

    select * from {{ ref("int_observations_described") }}

),

reference_rates as (

    select * from {{ ref("int_reference_rates_described") }}

),

streamed as (

    select * from {{ ref("stg_realtime__text_events") }}

),

-- The sources of the category `economic_event_text`, a line each: a release whose value is no number is a text.
united as (

    {{ batch_events("observations", value="value_text", where="value is null") }}
    union all
    {{ batch_events("reference_rates", value="value_text", where="value is null") }}
    union all
    {{ streamed_events("streamed", "economic_event_text") }}

)

select * from united
