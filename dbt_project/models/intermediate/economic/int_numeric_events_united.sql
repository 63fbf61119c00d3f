with

observations as (

    select * from {{ ref("int_observations_described") }}

),

reference_rates as (

    select * from {{ ref("int_reference_rates_described") }}

),

streamed as (

    select * from {{ ref("stg_realtime__numeric_events") }}

),

-- The sources of the category `economic_event_numeric`, a line each.
united as (

    {{ batch_events("observations", value="value", where="value is not null") }}
    union all
    {{ batch_events("reference_rates", value="value", where="value is not null") }}
    union all
    {{ streamed_events("streamed", "economic_event_numeric") }}

)

select * from united
