{%- set checked = [
    ref("stg_ecb__reference_rates"),
    ref("stg_fred__observations"),
    ref("stg_fred__series"),
    ref("stg_realtime__market_ticks"),
    ref("stg_realtime__order_book_levels"),
    ref("stg_realtime__numeric_events"),
    ref("stg_realtime__text_events"),
] -%}
with

casts as (
    {%- for relation in checked %}

    select
        '{{ relation.identifier }}' as model_name,
        bad_casts,
        load_id,
        file_name,
        loaded_at
    from {{ relation }}
    where bad_casts is not null
    {{ "union all" if not loop.last }}
    {%- endfor %}

),

final as (

    select
        casts.model_name,
        named.column_name,
        casts.load_id,
        casts.file_name,
        count(1) as bad_count,
        casts.loaded_at
    from casts
    cross join lateral unnest(casts.bad_casts) as named (column_name)
    group by casts.model_name, named.column_name, casts.load_id, casts.file_name, casts.loaded_at

)

select * from final
