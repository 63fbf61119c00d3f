"""The page for programs, in the shape of Statuspage's `summary.json`."""

from typing import Any
from uuid import UUID, uuid5

from tidemark.output import iso, visible
from watch.announcements import Incident, Maintenance
from watch.page.parts import Part
from watch.page.view import Page

# What cannot be seen is told as what is worst: a program that reads it must not take it for well.
STATUSES = {
    "ok": "operational", "waiting": "operational", "warning": "degraded_performance", "failing": "major_outage",
    "unknown": "major_outage",
}  # fmt: skip
INDICATORS = {"ok": "none", "waiting": "none", "warning": "minor", "failing": "major", "unknown": "critical"}


def summary(page: Page, site: UUID) -> dict[str, Any]:
    """The document."""
    now = page.made_at.timestamp()
    said = page.headline + (f": {page.reason}" if page.reason else "")
    blind = page.valid_until is None
    indicator = "critical" if blind else "major" if page.state == "unknown" else INDICATORS[page.state]
    updated = iso(page.observed_at) if page.observed_at else None
    return {
        "page": {"id": str(site), "name": "Tidemark", "url": "", "time_zone": "Etc/UTC", "updated_at": updated},
        "status": {"indicator": indicator, "description": said},
        "components": _components(page, site),
        "incidents": [_incident(each, site) for each in page.incidents if each.resolved_at is None],
        "scheduled_maintenances": [
            _maintenance(each, site, now) for each in page.maintenances if each.state(now) != "over"
        ],
    }


def _components(page: Page, site: UUID) -> list[dict[str, Any]]:
    """A component a group, and one a part."""
    found: list[dict[str, Any]] = []
    for number, (group, shown) in enumerate(page.groups):
        parts = [each.part for each in shown]
        of = str(uuid5(site, f"group {group}"))
        found.append(
            _component(of, group, parts[0], site)
            | {
                "position": number + 1,
                "description": f"{len(parts)} parts",
                "group": True,
                "components": [_id(site, part) for part in parts],
            }
        )
        found += [
            _component(_id(site, part), part.name, part, site)
            | {"position": position + 1, "description": _said(part), "group": False, "group_id": of}
            for position, part in enumerate(parts)
        ]
    return found


def _id(site: UUID, part: Part) -> str:
    return str(uuid5(site, f"part {part.group} {part.name}"))


def _said(part: Part) -> str:
    said = f"{part.sentence}; {part.meaning}" if part.meaning else part.sentence
    return f"unknown: {said}" if part.state == "unknown" else said


def _component(of: str, name: str, worst: Part, site: UUID) -> dict[str, Any]:
    since = iso(worst.since) if worst.since else None
    return {
        "id": of, "name": name, "status": STATUSES[worst.state], "state": worst.state,
        "created_at": since, "updated_at": since, "showcase": True, "start_date": None,
        "group_id": None, "page_id": str(site), "group": False, "only_show_if_degraded": False,
    }  # fmt: skip


def _incident(incident: Incident, site: UUID) -> dict[str, Any]:
    of = f"incident {incident.id}"
    updates = [
        _update(site, (of, number), each.at, each.text, "investigating") for number, each in enumerate(incident.updates)
    ]
    last = incident.updates[-1].at if incident.updates else incident.opened_at
    return {
        "id": str(uuid5(site, of)), "name": visible(incident.title), "status": "investigating",
        "impact": "major", "created_at": iso(incident.opened_at), "started_at": iso(incident.opened_at),
        "updated_at": iso(last), "monitoring_at": None, "resolved_at": None, "shortlink": "", "page_id": str(site),
        "components": [], "incident_updates": updates[::-1],
    }  # fmt: skip


def _update(site: UUID, which: tuple[str, int], at: float, body: str, status: str) -> dict[str, Any]:
    of, number = which
    return {
        "id": str(uuid5(site, f"{of} {number}")), "incident_id": str(uuid5(site, of)), "status": status,
        "body": visible(body, lines=True),
        "created_at": iso(at), "updated_at": iso(at), "display_at": iso(at), "affected_components": None,
    }  # fmt: skip


def _maintenance(each: Maintenance, site: UUID, now: float) -> dict[str, Any]:
    status = "in_progress" if each.state(now) == "under way" else "scheduled"
    of = f"maintenance {each.id}"
    return {
        "id": str(uuid5(site, of)), "name": "Maintenance", "status": status, "impact": "maintenance",
        "created_at": iso(each.planned_at), "started_at": iso(each.begins_at), "updated_at": iso(each.planned_at),
        "monitoring_at": None, "resolved_at": None, "shortlink": "", "page_id": str(site), "components": [],
        "scheduled_for": iso(each.begins_at), "scheduled_until": iso(each.ends_at),
        "incident_updates": [_update(site, (of, 0), each.planned_at, each.text, status)],
    }  # fmt: skip
