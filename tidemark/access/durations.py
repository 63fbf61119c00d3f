"""How long something may take or last, as people write it: `30s`, `5min`, `90d`."""

import math

from tidemark.errors import ConfigurationError

LONGEST_SECONDS = 36_500 * 86_400.0  # a hundred years: what is longer is a slip of the finger


def seconds_of(text: str) -> float:
    """Seconds, more than 0; ConfigurationError where the text is no duration, or a number without its unit."""
    from pytimeparse.timeparse import timeparse

    try:
        found = None if text.replace(".", "").strip().isdigit() else timeparse(text)
    except (ValueError, ArithmeticError):
        found = None
    if found is None or not math.isfinite(found) or not 0 < found <= LONGEST_SECONDS:
        raise ConfigurationError(
            f"expected a duration of more than 0 with its unit, as 30s, 5min, 12h or 90d, received {text!r}"
        )
    return float(found)


def written(seconds: float) -> str:
    """The same as people write it, in the largest unit that divides it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
