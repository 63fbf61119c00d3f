"""Cells of the economic marts, computed from the recorded files: `compute_economic.py RECORDINGS > economic.csv`."""

import csv
import gzip
import json
import sys
import zipfile
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

recordings = Path(sys.argv[1])
write = csv.writer(sys.stdout, lineterminator="\n").writerow
write(["mart", "key_column", "key", "column", "value"])


def end(day: str, later: int = 0) -> str:
    return f"{date.fromisoformat(day) + timedelta(days=1 + later)} 00:00:00+00"


name = "series_observations_GDP_allvintages_recorded20250120.json.gz"
gdp = json.loads(gzip.decompress((recordings / "fred_api" / name).read_bytes()))["observations"]
for at in (0, 1, 700, 1500, 2200, 2900, 3100, 3197, 3198, 3199, 3200):
    row = gdp[at]
    key = ["fct_economic_observations", "observation_vintage_key", f"fred:GDP:{row['date']}:{row['realtime_start']}"]
    write([*key, "value", "" if row["value"] == "." else float(row["value"])])
    write([*key, "available_at", end(row["realtime_start"])])
    write([*key, "superseded_at", end(row["realtime_end"], 1) if row["realtime_end"] < "9999" else ""])

packed = zipfile.ZipFile(recordings / "ecb" / "eurofxref-hist.zip")
days = {row["Date"]: row for row in csv.DictReader(packed.read("eurofxref-hist.csv").decode().splitlines())}
for day, currency in (("2024-06-26", "USD"), ("2024-06-23", "JPY"), ("2010-05-01", "ISK"), ("1999-01-04", "GBP")):
    source = max(known for known in days if known <= day and days[known][currency] != "N/A")
    key = ["fct_fx_rates", "fx_rate_key", f"ecb:{currency}:{day}"]
    write([*key, "rate", days[source][currency]])
    write([*key, "age_days", (date.fromisoformat(day) - date.fromisoformat(source)).days])
cross = Fraction(days["2024-06-26"]["JPY"]) / Fraction(days["2024-06-26"]["USD"])
key = ["fct_fx_crosses", "base_currency || quote_currency || rate_date", "USDJPY2024-06-26"]
write([*key, "round(rate, 10)", f"{float(cross):.10f}"])
for currency in ("BGN", "HRK", "USD"):
    known = sorted(day for day in days if days[day][currency] != "N/A")
    write(["dim_currencies", "currency", currency, "first_rate_date", known[0]])
    write(["dim_currencies", "currency", currency, "last_rate_date", known[-1]])
