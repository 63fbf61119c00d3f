"""The demo's own error."""

from tidemark.errors import TidemarkError


class DemoFailed(TidemarkError):
    """The demo did not come out as it must: the message says which count was expected, and which was found."""
