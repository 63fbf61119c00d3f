"""An alert: a line in the log, and a post to TIDEMARK_ALERT_WEBHOOK where that is set."""

import logging

from tidemark.settings import Settings

log = logging.getLogger("tidemark.alert")

POST_SECONDS = 5


def payload(state: str, cause: str, text: str) -> dict[str, str]:
    """What every alert posts: `state` (`raised` or `over`), `cause` (its name), `text` (which chat endpoints show)."""
    return {"state": state, "cause": cause, "text": text}


def post(settings: Settings, state: str, cause: str, text: str) -> bool:
    """Say that a cause is `raised` or `over`; False where the webhook did not take it: try again later."""
    log.warning("alert %s: %s: %s", state, cause, text)
    if settings.alert_webhook is None:
        return True
    from tidemark.http import NoAnswer, ask_now

    url = settings.alert_webhook.get_secret_value()
    body = payload(state, cause, text)
    try:
        answer = ask_now(settings, url, method="POST", json=body, seconds=POST_SECONDS, hide=lambda _: "the webhook")
    except NoAnswer as error:
        log.error("expected TIDEMARK_ALERT_WEBHOOK to take an alert, received %s", error)
        return False
    if not 200 <= answer.status < 300:
        log.error("expected TIDEMARK_ALERT_WEBHOOK to take an alert, received HTTP %d", answer.status)
        return False
    return True
