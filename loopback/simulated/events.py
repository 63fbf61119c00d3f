"""Generated filings, observations and reference rates: EDGAR's feed, FRED's answers, the ECB's zip."""

import csv
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from io import StringIO
from pathlib import Path
from random import Random
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from loopback.simulated.files import write_text

_EDGAR = "https://www.sec.gov/cgi-bin/browse-edgar?action=getcurrent&count=100&start=0&type=&owner=include&output=atom"
_POLLS = ("2025-12-12T18:02:34-05:00", "2025-12-12T18:03:31-05:00", "2025-12-12T18:03:44-05:00")
_PAGE, _NEW = 40, 10
_RECORDED = (datetime(2024, 11, 3, 14, 33, 21, tzinfo=UTC), datetime(2025, 1, 20, 14, 56, 2, tzinfo=UTC))
_CURRENCIES = ("USD", "JPY", "BGN", "GBP", "CHF", "HRK", "NOK", "AUD", "CAD", "CNY")


def _tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _filing(number: int, random: Random) -> str:
    """One entry of the feed; a filing appears once for each who files, so that id and title tell them apart."""
    form, cik = random.choice(("4", "8-K", "10-Q", "S-1")), 1_000_000 + random.randrange(900_000)
    accession = f"{cik:010d}-25-{number // 2:06d}"
    role = ("Issuer", "Reporting")[number % 2]
    return (
        f"<entry>\n<title>{form} - Simulated Company {cik % 97} ({cik:010d}) ({role})</title>\n"
        f'<link rel="alternate" type="text/html" href="https://www.sec.gov/Archives/edgar/data/{cik}/{accession}-index.htm"/>\n'
        f'<summary type="html"> &lt;b&gt;Filed:&lt;/b&gt; 2025-12-12 &lt;b&gt;AccNo:&lt;/b&gt; {accession}</summary>\n'
        f"<updated>2025-12-12T18:02:10-05:00</updated>\n"
        f'<category scheme="https://www.sec.gov/" label="form type" term="{form}"/>\n'
        f"<id>urn:tag:sec.gov,2008:accession-number={accession}</id>\n</entry>\n"
    )


def write_edgar(folder: Path, seed: int) -> None:
    """Three polls of one page: the second brings ten new entries, the third none."""
    random = Random(f"{seed} edgar")
    filings = [_filing(number, random) for number in range(_PAGE + _NEW)]  # oldest first; a page has the newest first
    rows = []
    for at, newest in zip(_POLLS, (_PAGE, _PAGE + _NEW, _PAGE + _NEW), strict=True):
        page = "".join(reversed(filings[newest - _PAGE : newest]))
        name = f"getcurrent_{at[:19].replace('-', '').replace(':', '')}_start0000.atom.gz"
        head = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        about = (
            f"<title>Latest Filings - {at}</title>\n<id>{_EDGAR.replace('&', '&amp;')}</id>\n<updated>{at}</updated>\n"
        )
        write_text(folder / name, f"{head}{about}{page}</feed>\n")
        rows.append((name, _EDGAR, at, _PAGE, "simulated"))
    _tsv(folder / "index.tsv", ("file", "request_url", "feed_updated", "entries", "cassette"), rows)
    write_text(
        folder / "getcurrent_20251212_start5100_HTTP503.html.gz", "<html><body>Service Unavailable</body></html>\n"
    )
    write_text(folder / "rate-exceeded.html", "<html><body>Request Rate Threshold Exceeded</body></html>\n")


def _quarters(first: date, count: int, months: int) -> list[str]:
    return [date(first.year + m // 12, m % 12 + 1, 1).isoformat() for m in range(0, count * months, months)]


def _fridays(first: date, count: int) -> list[str]:
    return [(first + timedelta(weeks=week)).isoformat() for week in range(count)]


def write_fred(folder: Path, seed: int) -> None:
    """Two recordings of three series: the second has one observation more of each, and a revision of GDP's last one."""
    random = Random(f"{seed} fred")
    dates = {
        "GDP": _quarters(date(2010, 1, 1), 60, 3),
        "CPILFESL": _quarters(date(2010, 1, 1), 180, 1),
        "WGS10YR": _fridays(date(2020, 1, 3), 260),
    }
    rows = []
    for series, known in dates.items():
        level = random.uniform(2, 300)
        values = [f"{level * (1 + 0.002 * number + random.uniform(0, 0.001)):.3f}" for number in range(len(known))]
        if series == "GDP":
            values[0] = "."  # a release without a number
        for recording, at in enumerate(_RECORDED):
            if recording == 1 and series == "GDP":
                values[-2] = f"{float(values[-2]) + 1:.3f}"
            shown = len(known) - 1 + recording
            rows += _fred_answers(folder, series, list(zip(known, values, strict=True))[:shown], at)
    header = (
        "file",
        "request_url(api_key stripped by upstream)",
        "status",
        "response_date",
        "list_key",
        "rows",
        "bytes",
    )
    _tsv(folder / "index.tsv", header, rows)


def _fred_answers(
    folder: Path, series: str, observations: list[tuple[str, str]], at: datetime
) -> list[tuple[object, ...]]:
    day = at.date().isoformat()
    realtime = {"realtime_start": day, "realtime_end": day}
    frequency = {"GDP": "Quarterly", "CPILFESL": "Monthly", "WGS10YR": "Weekly, Ending Friday"}[series]
    about = {
        "id": series, **realtime, "title": f"Simulated {series}", "observation_start": observations[0][0],
        "observation_end": observations[-1][0], "frequency": frequency, "frequency_short": frequency[0],
        "units": "Simulated units", "units_short": "Simulated", "seasonal_adjustment": "Not Seasonally Adjusted",
        "seasonal_adjustment_short": "NSA", "last_updated": f"{day} 07:00:00-05", "popularity": 1, "notes": "",
    }  # fmt: skip
    listed = [{**realtime, "date": on, "value": value, "source_system": "simulated"} for on, value in observations]
    page = {
        **realtime, "observation_start": "1600-01-01", "observation_end": "9999-12-31", "units": "lin",
        "output_type": 1, "file_type": "json", "order_by": "observation_date", "sort_order": "asc",
        "count": len(listed), "offset": 0, "limit": 100000, "observations": listed,
    }  # fmt: skip
    answers = (("series", "seriess", {**realtime, "seriess": [about]}), ("series/observations", "observations", page))
    rows: list[tuple[object, ...]] = []
    for path, list_key, body in answers:
        name = f"{path.replace('/', '_')}_{series}_recorded{at:%Y%m%d}.json.gz"
        text = json.dumps(body, separators=(",", ":"))
        write_text(folder / name, text)
        url = f"https://api.stlouisfed.org/fred/{path}?file_type=json&series_id={series}"
        count = len(listed) if list_key == "observations" else 1
        rows.append((name, url, 200, format_datetime(at, usegmt=True), list_key, count, len(text)))
    return rows


def write_ecb(folder: Path, seed: int) -> None:
    """250 business days of ten currencies, newest first, one of them without a rate (`N/A`), as the ECB writes them.

    A column of its own says `simulated`: staging takes it for the source_system.
    """
    random = Random(f"{seed} ecb")
    weekdays = [date(2024, 8, 30) - timedelta(days=back) for back in range(350)]
    lines = ["Date,source_system," + ",".join(_CURRENCIES) + ","]
    for day in [day for day in weekdays if day.weekday() < 5]:
        rates = ["N/A" if currency == "HRK" else f"{random.uniform(0.5, 2):.4f}" for currency in _CURRENCIES]
        lines.append(f"{day.isoformat()},simulated," + ",".join(rates) + ",")
    folder.mkdir(parents=True, exist_ok=True)
    with ZipFile(folder / "eurofxref-hist.zip", "w", ZIP_DEFLATED) as packed:
        packed.writestr(ZipInfo("eurofxref-hist.csv", (2024, 8, 30, 15, 56, 0)), "\n".join(lines) + "\n", ZIP_DEFLATED)
