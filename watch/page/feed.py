"""What happened, as entries of the feed: what was said of incidents, maintenance, and alerts as they came and went."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from tidemark.output import utc, visible
from watch.page.view import Page

MOST = 50


@dataclass(frozen=True)
class Entry:
    """One entry; `at` is seconds since 1970, `anchor` a place on the page."""

    id: UUID
    kind: str
    at: float
    title: str
    text: str
    anchor: str = ""


def site_id(site: str) -> UUID:
    """The identity of one Tidemark's page, which says nothing of what it was made of."""
    return uuid5(NAMESPACE_URL, f"tidemark status {site}")


def entries(page: Page, site: UUID) -> list[Entry]:
    """The latest first."""
    found = [*_incidents(page, site), *_maintenances(page, site), *_alerts(page, site)]
    return sorted(found, key=lambda each: -each.at)[:MOST]


def _incidents(page: Page, site: UUID) -> Iterator[Entry]:
    for incident in page.incidents:
        for number, update in enumerate(incident.updates):
            over = incident.resolved_at is not None and update is incident.updates[-1]
            title = f"{'Over' if over else 'Incident' if number == 0 else 'Update'}: {visible(incident.title)}"
            identity = uuid5(site, f"incident {incident.id} {number}")
            said, anchor = visible(update.text, lines=True), f"#incident-{incident.id}"
            yield Entry(identity, "incident", update.at, title, said, anchor)


def _maintenances(page: Page, site: UUID) -> Iterator[Entry]:
    for each in page.maintenances:
        title = f"Maintenance from {utc(each.begins_at)} to {utc(each.ends_at)}"
        identity = uuid5(site, f"maintenance {each.id}")
        yield Entry(identity, "maintenance", each.planned_at, title, visible(each.text, lines=True))


def _alerts(page: Page, site: UUID) -> Iterator[Entry]:
    for alert in page.alerts:
        yield Entry(uuid5(site, f"{alert.id} raised"), "alert", alert.raised_at, alert.title, alert.meaning)
        if alert.resolved_at is not None:
            title, said = f"Over: {alert.title}", f"It was over at {utc(alert.resolved_at)}."
            yield Entry(uuid5(site, f"{alert.id} resolved"), "alert", alert.resolved_at, title, said)
