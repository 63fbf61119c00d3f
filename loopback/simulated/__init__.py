"""A generated session, for where there are no recordings: the same files in the same formats, decided by a seed alone.

What it holds is plausible and consistent (a book that is never crossed, trades at its best prices), and is nobody's
data: every row of it says `simulated` in its source_system.
"""

import json
from pathlib import Path

from loopback.simulated.events import write_ecb, write_edgar, write_fred
from loopback.simulated.files import write_text
from loopback.simulated.market import write_binance

SEED = 20240808
MARKER = "simulated.json"  # in a session's folder: generated, and from which seed


def simulate(folder: Path, seed: int = SEED) -> Path:
    """Write a session of 6,000 trades and 1,200 book updates into `folder`; the same seed gives the same bytes."""
    write_binance(folder, seed)
    write_edgar(folder / "sec_edgar", seed)
    write_fred(folder / "fred_api", seed)
    write_ecb(folder / "ecb", seed)
    write_text(folder / MARKER, json.dumps({"seed": seed}) + "\n")
    return folder
