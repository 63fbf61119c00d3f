{{ config(unique_key="currency") }}
with

rates as (

    select * from {{ ref("fct_fx_rates") }}

),

-- ISO 4217, of the currencies that the ECB quotes or quoted.
names as (

    select
        named.currency,
        named.name,
        named.minor_unit_digits
    from (
        values
        ('AUD', 'Australian dollar', 2),
        ('BGN', 'Bulgarian lev', 2),
        ('BRL', 'Brazilian real', 2),
        ('CAD', 'Canadian dollar', 2),
        ('CHF', 'Swiss franc', 2),
        ('CNY', 'Chinese yuan renminbi', 2),
        ('CYP', 'Cypriot pound', 2),
        ('CZK', 'Czech koruna', 2),
        ('DKK', 'Danish krone', 2),
        ('EEK', 'Estonian kroon', 2),
        ('EUR', 'Euro', 2),
        ('GBP', 'Pound sterling', 2),
        ('HKD', 'Hong Kong dollar', 2),
        ('HRK', 'Croatian kuna', 2),
        ('HUF', 'Hungarian forint', 2),
        ('IDR', 'Indonesian rupiah', 2),
        ('ILS', 'Israeli shekel', 2),
        ('INR', 'Indian rupee', 2),
        ('ISK', 'Icelandic krona', 0),
        ('JPY', 'Japanese yen', 0),
        ('KRW', 'South Korean won', 0),
        ('LTL', 'Lithuanian litas', 2),
        ('LVL', 'Latvian lats', 2),
        ('MTL', 'Maltese lira', 2),
        ('MXN', 'Mexican peso', 2),
        ('MYR', 'Malaysian ringgit', 2),
        ('NOK', 'Norwegian krone', 2),
        ('NZD', 'New Zealand dollar', 2),
        ('PHP', 'Philippine peso', 2),
        ('PLN', 'Polish zloty', 2),
        ('ROL', 'Romanian leu, until 2005', 2),
        ('RON', 'Romanian leu', 2),
        ('RUB', 'Russian rouble', 2),
        ('SEK', 'Swedish krona', 2),
        ('SGD', 'Singapore dollar', 2),
        ('SIT', 'Slovenian tolar', 2),
        ('SKK', 'Slovak koruna', 2),
        ('THB', 'Thai baht', 2),
        ('TRL', 'Turkish lira, until 2004', 0),
        ('TRY', 'Turkish lira', 2),
        ('USD', 'US dollar', 2),
        ('ZAR', 'South African rand', 2)
    ) as named (currency, name, minor_unit_digits)

),

rated as (

    select
        currency,
        min(rate_date) as first_rate_date,
        max(rate_date) as last_rate_date
    from rates
    group by currency

),

final as (

    select
        coalesce(names.currency, rated.currency) as currency,
        names.name,
        names.minor_unit_digits,
        rated.currency is not null as has_rates,
        rated.first_rate_date,
        rated.last_rate_date
    from names
    full outer join rated on names.currency = rated.currency

)

select * from final
