"""The channels by which an alert leaves: the webhook, mail, and events of Prefect, which its UI shows."""

import ssl
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from functools import partial
from http import HTTPStatus
from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tidemark.connections import prefect_url
from tidemark.errors import ConfigurationError, StackError, TidemarkError
from tidemark.http import NoAnswer, ask_now, on_loopback
from tidemark.output import visible
from tidemark.settings import Settings
from tidemark.stack import prefect

if TYPE_CHECKING:
    import smtplib

SECONDS = 10
SMTP_PORTS = {"smtp": 587, "smtps": 465}
# Statuses of 4xx that are of the moment, not of what was sent.
OF_THE_MOMENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

Payload = Mapping[str, Any]
Send = Callable[[Settings, Payload], None]


class NotTaken(TidemarkError):
    """A channel did not take an alert; it is tried again."""

    retriable = True


class Refused(NotTaken):
    """A channel answered, and does not take this alert; it may take the next."""


def not_answered_well(status: int, said: str) -> NotTaken:
    """The error for an answer of HTTP that is none of success."""
    return Refused(said) if 400 <= status < 500 and status not in OF_THE_MOMENT else NotTaken(said)


class Mail(NamedTuple):
    """Where mail is handed over."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    sender: str


def channels(settings: Settings) -> dict[str, Send]:
    """The channels that the settings name, and Prefect, by name. ConfigurationError where one cannot work.

    Each address of mail is a channel: one that is refused is tried again alone, and no other gets a mail twice.
    """
    found: dict[str, Send] = {"prefect": to_prefect}
    if settings.alert_webhook is not None:
        found["webhook"] = to_webhook
    if (settings.alert_mail_to is None) != (settings.smtp_url is None):
        lacking = "TIDEMARK_SMTP_URL" if settings.smtp_url is None else "TIDEMARK_ALERT_MAIL_TO"
        raise ConfigurationError(f"{lacking}: expected both TIDEMARK_ALERT_MAIL_TO and TIDEMARK_SMTP_URL, or neither")
    if settings.alert_mail_to is not None:
        mail_of(settings)
        addresses = [address for _, address in getaddresses([settings.alert_mail_to]) if address]
        if not addresses:
            raise ConfigurationError("TIDEMARK_ALERT_MAIL_TO: expected addresses, parted by commas, received none")
        found |= {f"mail {address}": partial(to_mail, to=address) for address in addresses}
    return found


def to_webhook(settings: Settings, payload: Payload) -> None:
    """A POST of the payload."""
    assert settings.alert_webhook is not None
    url = settings.alert_webhook.get_secret_value()
    try:
        answer = ask_now(settings, url, method="POST", json=payload, seconds=SECONDS, hide=lambda _: "the webhook")
    except NoAnswer as error:
        raise NotTaken(f"expected TIDEMARK_ALERT_WEBHOOK to take an alert, received {error}") from None
    if not 200 <= answer.status < 300:
        said = f"expected TIDEMARK_ALERT_WEBHOOK to take an alert, received HTTP {answer.status}"
        raise not_answered_well(answer.status, said)


def to_prefect(settings: Settings, payload: Payload) -> None:
    """An event `tidemark.alert.raised` or `.resolved` of the resource `tidemark.alert.CAUSE`."""
    named = {"tidemark.condition": payload["condition"], "tidemark.severity": payload["severity"]}
    # One delivery has one id, so that Prefect keeps it once however often it is sent.
    event_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{payload['id']} {payload['state']}")
    emit(
        settings,
        f"tidemark.alert.{payload['state']}",
        f"tidemark.alert.{payload['cause']}",
        payload,
        labels=named,
        event_id=event_id,
    )


def emit(
    settings: Settings,
    event: str,
    resource: str,
    payload: Payload,
    *,
    labels: Mapping[str, str] = {},
    event_id: uuid.UUID | None = None,
) -> None:
    """One event for Prefect's server; NotTaken where it does not take it."""
    body = {
        "id": str(event_id or uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": {"prefect.resource.id": resource, "prefect.resource.name": str(payload.get("cause", resource))}
        | dict(labels),
        "payload": dict(payload),
    }
    try:
        login = prefect.prefect_login(settings)
        headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
        answer = ask_now(
            settings, f"{prefect_url(settings)}/events", method="POST", json=[body], headers=headers, seconds=SECONDS
        )
    except (StackError, NoAnswer) as error:
        raise NotTaken(f"expected Prefect to take the event {event}, received {error}") from None
    if answer.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
        said = f"expected Prefect to take the event {event}, received HTTP {answer.status}: {answer.start()}"
        raise not_answered_well(answer.status, said)


def mail_of(settings: Settings) -> Mail:
    """Where mail is handed over; ConfigurationError where the URL does not say it. It shows no part of the URL."""
    assert settings.smtp_url is not None
    expected = "TIDEMARK_SMTP_URL: expected smtps://user:password@host:465 or smtp://user:password@host:587"
    try:
        parts = urlsplit(settings.smtp_url.get_secret_value())
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{expected}, received no URL") from None
    if parts.scheme not in SMTP_PORTS or not parts.hostname:
        raise ConfigurationError(f"{expected}, received another scheme, or no host")
    user, asked = unquote(parts.username or ""), parse_qs(parts.query).get("from", [""])[0]
    sender = asked or (user if "@" in user else f"tidemark@{parts.hostname}")
    port, password = port or SMTP_PORTS[parts.scheme], unquote(parts.password or "")
    if not f"{user}{password}{sender}".isascii():
        raise ConfigurationError(f"{expected}, received a user, password or sender with letters beyond ASCII")
    return Mail(parts.scheme, parts.hostname, port, user, password, sender)


def to_mail(settings: Settings, payload: Payload, to: str) -> None:
    """One mail, handed over for one address; over TLS unless its server is on loopback."""
    mail = mail_of(settings)
    try:
        with _smtp(mail) as server:
            if mail.user:
                server.login(mail.user, mail.password)
            server.send_message(message(settings, mail, payload), to_addrs=[to])
    except OSError as error:  # of smtplib too
        said = " ".join(str(error).split())
        for secret in filter(None, (mail.password, mail.user)):
            said = said.replace(secret, "***")
        kind = Refused if _is_refusal(error) else NotTaken
        raise kind(f"expected {mail.host}:{mail.port} to take a mail, received {said}") from None


def _is_refusal(error: OSError) -> bool:
    """Whether the server refuses this mail or this address for good, by RFC 5321's 5yz."""
    import smtplib

    match error:
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            return all(code >= 500 for code, _ in refused.values())
        case smtplib.SMTPDataError(smtp_code=code):
            return code >= 500
    return False


def _smtp(mail: Mail) -> "smtplib.SMTP":
    import smtplib

    context = ssl.create_default_context()
    if mail.scheme == "smtps":
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=SECONDS, context=context)
    server = smtplib.SMTP(mail.host, mail.port, timeout=SECONDS)
    server.ehlo()
    if server.has_extn("starttls") or not on_loopback(mail.host):
        server.starttls(context=context)
        server.ehlo()
    return server


def message(settings: Settings, mail: Mail, payload: Payload) -> EmailMessage:
    """The payload for people, and whole below; the subject is one line whatever a cause holds."""
    text = EmailMessage()
    text["Subject"] = f"[Tidemark] {payload['state']}: {visible(payload['cause'])}"
    text["From"], text["To"] = mail.sender, settings.alert_mail_to
    text["Date"], text["Message-ID"] = formatdate(), make_msgid(domain="tidemark.invalid")
    lines = [payload["text"], "", f"since {payload['since']}, {payload['severity']}"]
    lines += [f"what mends it: {payload['mend']}"] * bool(payload["mend"]) + [f"runbook: {payload['runbook']}"]
    text.set_content("\n".join([*lines, "", dumps(dict(payload), indent=2), ""]))
    return text
