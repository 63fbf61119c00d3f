"""Which topics a source of sources.yml feeds, and how long it may be silent."""

from pathlib import Path

from stream_shim.connectors.entries import (
    AlpacaSource,
    CcxtSource,
    DatabentoSource,
    FeedSource,
    PollSource,
    ReplaySource,
    SourceEntry,
    StreamedSource,
    read_sources,
)


def topics_of(entry: SourceEntry) -> tuple[str, ...]:
    """The topics that the source may send to: what a poll gives is a number or a text, each as it comes."""
    match entry:
        case CcxtSource() | DatabentoSource():
            return (*(("market_tick",) if entry.trades else ()), *(("order_book_l2",) if entry.order_book else ()))
        case AlpacaSource():
            return ("market_tick",)
        case FeedSource():
            return ("economic_event_text",)
        case PollSource():
            return ("economic_event_numeric", "economic_event_text")
        case ReplaySource():
            return tuple(entry.topics)


def silence_by_topic(path: Path) -> dict[str, float]:
    """Of each topic that sources of the file feed, after how many seconds the first of them is silent too long.

    `inf` where none of them is ever: a poll answers when there is news. ConfigurationError for a file that is wrong.
    """
    found: dict[str, float] = {}
    for entry in read_sources(path).values():
        most = entry.silence_seconds if isinstance(entry, StreamedSource) else float("inf")
        for topic in topics_of(entry):
            found[topic] = min(found.get(topic, most), most)
    return found
