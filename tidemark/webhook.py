"""An alert: a line in the log, and a post to TIDEMARK_ALERT_WEBHOOK where that is set."""

import logging
import re

from tidemark.settings import Settings

log = logging.getLogger("tidemark.alert")

POST_SECONDS = 5

# A page of docs/runbook/ for each kind of cause, and how the causes of that kind begin; the first that fits counts.
PAGES = {
    "silent-source": r"silent source ",
    "degraded-source": r"degraded source ",
    "failing-source": r"failing source ",
    "stopped-processor": r"stopped processor ",
    "low-head-room": r"low head-room ",
    "growing-quarantine": r"growing quarantine ",
    "database-does-not-answer": r"database |connections are taken",
    "transaction-hangs": r"transaction hangs |lock is held ",
    "oldest-day": r"oldest day past its time",
    "disk-ends": r"disk ends ",
    "keeps-dying": r"\w+ \S+ keeps dying",
    "state-not-written": r"state not written",
    "guard-does-not-run": r"the guard does not run",
    "guard-put-back": r"guard: changed ",
    "guard-ended-a-session": r"guard: ",
}


def page(cause: str) -> str | None:
    """The page, below the checkout, that says what mends a cause; None for one that has no page."""
    found = (f"docs/runbook/{name}.md" for name, begins in PAGES.items() if re.match(begins, cause))
    return next(found, None)


def payload(state: str, cause: str, text: str, runbook: str) -> dict[str, str]:
    """What every alert posts: `state` (`raised` or `over`), `cause` (its name), `text` (which chat endpoints show).

    `runbook` is the page that says what mends it, or empty.
    """
    return {"state": state, "cause": cause, "text": text, "runbook": runbook}


def post(settings: Settings, state: str, cause: str, text: str) -> bool:
    """Say that a cause is `raised` or `over`; False where the webhook did not take it: try again later."""
    log.warning("alert %s: %s: %s", state, cause, text)
    if settings.alert_webhook is None:
        return True
    from tidemark.http import NoAnswer, ask_now

    url = settings.alert_webhook.get_secret_value()
    body = payload(state, cause, text, page(cause) or "")
    try:
        answer = ask_now(settings, url, method="POST", json=body, seconds=POST_SECONDS, hide=lambda _: "the webhook")
    except NoAnswer as error:
        log.error("expected TIDEMARK_ALERT_WEBHOOK to take an alert, received %s", error)
        return False
    if not 200 <= answer.status < 300:
        log.error("expected TIDEMARK_ALERT_WEBHOOK to take an alert, received HTTP %d", answer.status)
        return False
    return True
