"""Cells of the queries of docs/queries.md, from the recorded files: `compute_queries.py RECORDINGS > queries.csv`."""

import csv
import gzip
import json
import math
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

recordings = Path(sys.argv[1])
write = csv.writer(sys.stdout, lineterminator="\n").writerow
write(["query", "row", "column", "value"])

days: dict[str, float] = {}
volumes: dict[str, float] = {}
for path in sorted((recordings / "binance_ws_hftbacktest").glob("spot_btcusdt_2024080*.gz")):
    with gzip.open(path, "rt") as lines:
        for message in (json.loads(line.partition(" ")[2]) for line in lines if '"e":"trade"' in line):
            trade = message["data"]
            at = datetime.fromtimestamp(trade["T"] / 1000, UTC)
            days[f"{at:%Y-%m-%d}"] = float(trade["p"])
            volumes[f"{at:%Y-%m-%dT%H:%M}"] = volumes.get(f"{at:%Y-%m-%dT%H:%M}", 0) + float(trade["q"])
(first_day, first), (last_day, last) = days.items()
for row, (day, close) in enumerate(days.items()):
    write(["Daily returns", row, "session_date", day])
    write(["Daily returns", row, "close", close])
write(["Daily returns", 1, "simple_return", last / first - 1])
write(["Daily returns", 1, "log_return", math.log(last / first)])

packed = recordings / "fred_api" / "series_observations_GDP_allvintages_recorded20241103.json.gz"
rows = [row for row in json.loads(gzip.decompress(packed.read_bytes()))["observations"] if row["realtime_end"] > "2024-11-03"]
for row, known in enumerate(sorted(rows, key=lambda one: one["date"], reverse=True)[:8]):
    write(["GDP as known on a date", row, "reference_date", known["date"]])
    write(["GDP as known on a date", row, "value", float(known["value"])])
    write(["GDP as known on a date", row, "vintage_date", known["realtime_start"]])

# The minutes of the four snapshots that the tests take, by the exchange's clock.
for row, time_ms in enumerate((1723161405679, 1723161555952, 1723161706220, 1723161856387)):
    minute = f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M}"
    write(["Spread against volume", row, "minute_start_at", f"{minute}:00+00:00"])
    write(["Spread against volume", row, "volume", round(volumes[minute], 8)])

history = zipfile.ZipFile(recordings / "ecb" / "eurofxref-hist.zip").read("eurofxref-hist.csv").decode()
rates = {row["Date"]: float(row["USD"]) for row in csv.DictReader(history.splitlines())}
for row, (day, close) in enumerate(days.items()):
    write(["Prices in euro", row, "close_eur", round(close / rates[day], 2)])
    write(["Prices in euro", row, "source_date", day])
