"""Alerts: decided by one table, one a cause and one word when it is over, taken by every channel, restart or not."""

import json
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from loopback.smtp import MailServer
from tests.serving import in_a_thread
from tests.stream_shim.conftest import until
from tests.stream_shim.test_managed_kafka import certificate
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings
from watch.alert import kept
from watch.alerts import GIVE_UP_SECONDS, Alerts
from watch.channels import NotTaken, channels, to_mail, to_webhook
from watch.conditions import ANYTHING, Condition, read_conditions
from watch.delivery import TRIES, Deliveries, Delivery
from watch.history import connect
from watch.observation import Observation, State

CONDITIONS = read_conditions()
SECRET = "s3cret/word"
NOW = time.time()
QUOTED = SECRET.replace("/", "%2F")


class Hook:
    """A loopback URL, what was posted to it, and what it answers first."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.refuses: dict[str, int] = {}  # by word of a text, the status for it
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.url = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            post = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.posts.append(post)
            found.may_answer.wait(20)
            refusal = next((status for word, status in found.refuses.items() if word in post["text"]), None)
            self.send_response(refusal or (found.statuses.pop() if found.statuses else 204))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Receiver)) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/hook?token={SECRET}"
        yield found
        found.may_answer.set()


def seen(name: str, state: State = "failing", identity: str = "one", sentence: str = "why") -> Observation:
    return Observation(name, "thing", identity, state, sentence)


def opened(
    folder: Path, names: tuple[str, ...] = ("webhook",), conditions: Mapping[str, Condition] = CONDITIONS
) -> Alerts:
    """Alerts of a history in that folder, as the watcher opens them."""
    connection = sqlite3.connect(folder / "history.sqlite", isolation_level=None, check_same_thread=False)
    return Alerts(connection, conditions, names)


def words(alerts: Alerts, channel: str = "webhook") -> list[tuple[str, str]]:
    """What the channel has yet to take, which it takes now."""
    found: list[tuple[str, str]] = []
    while (one := next(iter(alerts.waiting_for(channel)), None)) is not None:
        found.append((one[1], one[0].cause))
        alerts.taken(*one, channel, time.time())
    return found


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_is_raised_after_its_time_and_is_over_once_it_holds_no_more(name: str, tmp_path: Path) -> None:
    condition, alerts = CONDITIONS[name], opened(tmp_path)
    bad, well = seen(name, condition.states[0]), seen(name, "ok")
    cause = name if condition.together else bad.title
    alerts.decide([well], 1000.0, True)
    alerts.decide([bad], 1001.0, True)
    if condition.for_seconds:
        alerts.decide([bad], 1000.0 + condition.for_seconds, True)
        assert words(alerts) == []
    alerts.decide([bad], 1001.0 + condition.for_seconds, True)
    alerts.decide([bad], 1002.0 + condition.for_seconds, True)
    assert words(alerts) == [("raised", cause)]
    [alert] = alerts.open()
    assert (Path(__file__).parents[2] / alert.runbook).is_file()
    alerts.decide([well], 1003.0 + condition.for_seconds, True)
    assert words(alerts) == [("resolved", cause)]
    assert alerts.open() == []


def test_what_follows_from_another_cause_waits_for_it_and_what_is_unseen_ends_nothing(tmp_path: Path) -> None:
    alerts = opened(tmp_path)
    down, stopped = seen("server does not run", identity="postgres"), seen("stopped processor", identity="realtime")
    alerts.decide([down, stopped], 1000.0, True)
    alerts.decide([down, stopped], 1060.0, True)
    assert words(alerts) == [("raised", "server does not run: postgres")]
    alerts.decide([seen("server does not run", "unknown", "postgres"), stopped], 1070.0, True)
    assert [alert.cause for alert in alerts.open()][:1] == ["server does not run: postgres"]
    alerts.decide([seen("server does not run", "ok", "postgres"), stopped], 1080.0, True)
    assert words(alerts) == [("resolved", "server does not run: postgres")]  # it may just go on
    alerts.decide([seen("server does not run", "ok", "postgres"), stopped], 1100.0, True)
    assert words(alerts) == [("raised", "stopped processor: realtime")]
    alerts.decide([], 1110.0, False)  # nothing was looked at yet, as after a start
    assert [alert.cause for alert in alerts.open()] == ["stopped processor: realtime"]
    alerts.decide([], 1120.0, True)  # it was looked for, and is no more
    assert alerts.open() == []


def test_what_cannot_be_seen_for_long_is_one_alert_that_names_it(tmp_path: Path) -> None:
    alerts = opened(tmp_path)
    unknown = [seen(f"look {number}", "unknown") for number in range(8)]
    for now in (1000.0, 1601.0):
        alerts.decide(unknown, now, True)
    [alert] = alerts.open()
    assert alert.cause == ANYTHING
    assert "look 0: one (why)" in alert.text
    assert alert.text.endswith("and 3 more")
    alerts.decide([seen("look 0", "ok")], 1602.0, True)
    assert [word for word, _ in words(alerts)] == ["raised", "resolved"]


def test_a_clock_that_is_set_back_puts_off_no_alert_and_a_thousand_causes_are_decided_within_a_turn(
    tmp_path: Path,
) -> None:
    alerts = opened(tmp_path)
    many = [seen(name, identity=f"venue {number}") for number in range(500) for name in ("silent source", "lag")]
    began = time.thread_time()
    for now in (NOW, NOW - 3600, NOW - 3600 + 61):
        alerts.decide([seen("server does not run"), *many], now, True)
    assert time.thread_time() - began < 3.0
    assert len(alerts.open()) == 1001


def test_a_restart_repeats_no_alert_and_loses_none(tmp_path: Path) -> None:
    first = opened(tmp_path, ("webhook", "mail"))
    first.decide([seen("silent source")], NOW - 1, True)
    first.decide([seen("silent source"), seen("failing source")], NOW, True)
    assert len(words(first)) == 2  # the mail has taken none
    first.decide([seen("silent source")], NOW + 1, True)
    assert words(first) == [("resolved", "failing source: one")]
    second = opened(tmp_path, ("webhook", "mail", "prefect"))
    second.decide([seen("silent source")], NOW + 10, True)
    assert words(second) == []
    assert words(second, "mail") == [
        ("raised", "silent source: one"), ("raised", "failing source: one"), ("resolved", "failing source: one"),
    ]  # fmt: skip
    assert words(second, "prefect") == [("raised", "silent source: one")]  # a new channel hears of what is open
    second.decide([], NOW + 20, True)
    assert {name: words(second, name) for name in ("webhook", "mail", "prefect")} == {
        name: [("resolved", "silent source: one")] for name in ("webhook", "mail", "prefect")
    }
    with sqlite3.connect(tmp_path / "history.sqlite") as connection:
        assert [alert.row()["not_taken_by"] for alert in kept(connection, 10)] == [[], []]


def test_a_history_that_takes_no_writes_stops_no_alert(tmp_path: Path) -> None:
    alerts = opened(tmp_path)
    with sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None) as other:
        assert alerts._connection is not None
        alerts._connection.execute("pragma busy_timeout = 0")
        other.execute("begin exclusive")
        alerts.decide([seen("disk ends")], NOW, True)
        assert words(alerts) == [("raised", "disk ends: one")]
        other.execute("rollback")
    alerts.decide([seen("disk ends")], NOW + 1, True)
    assert [alert.took["raised"].keys() for alert in opened(tmp_path).open()] == [{"webhook"}]


def test_what_ends_and_what_is_raised_while_there_is_no_file_is_in_the_file_once(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.decide([seen("disk ends"), seen("lock is held")], NOW, True)
    assert len(words(first)) == 2
    first.keep_in(None)
    first.decide([seen("lock is held")], NOW + 1, True)
    assert words(first) == [("resolved", "disk ends: one")]
    second = Alerts(None, CONDITIONS, ("webhook",))  # it cannot know what is open
    second.decide([seen("lock is held")], NOW + 2, True)
    assert words(second) == [("raised", "lock is held: one")]
    for each in (first, second):
        each.keep_in(sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None))
    assert [alert.raised_at for alert in second.open()] == [NOW]
    third = opened(tmp_path)
    third.decide([], NOW + 3, True)
    assert words(third) == [("resolved", "lock is held: one")]
    with sqlite3.connect(tmp_path / "history.sqlite") as connection:
        assert [(one.cause, one.resolved_at) for one in kept(connection, 10)] == [
            ("lock is held: one", NOW + 3), ("disk ends: one", NOW + 1),
        ]  # fmt: skip


@contextmanager
def delivering(settings: Settings, alerts: Alerts) -> Iterator[Deliveries]:
    sends = {name: send for name, send in channels(settings).items() if name != "prefect"}
    deliveries = Deliveries(settings, alerts, sends)
    try:
        yield deliveries
    finally:
        deliveries.close()


def test_one_payload_reaches_the_webhook_and_the_mail_and_a_channel_that_hangs_keeps_no_other(
    hook: Hook, tmp_path: Path
) -> None:
    hook.may_answer.clear()
    with in_a_thread(MailServer(login=("anna@example.org", SECRET))) as mails:
        url = f"smtp://anna%40example.org:{QUOTED}@127.0.0.1:{mails.port}"
        settings = Settings(
            alert_webhook=SecretStr(hook.url), alert_mail_to="one@example.org, two@example.org", smtp_url=SecretStr(url)
        )
        alerts = opened(tmp_path, tuple(channels(settings)))
        with delivering(settings, alerts) as deliveries:
            alerts.decide([seen("silent source", sentence="expected news\nreceived none")], 1000.0, True)
            deliveries.tell()
            until(lambda: len(mails.mails) == 2, "both mails, while the webhook hangs")
            hook.may_answer.set()
            until(lambda: not alerts.waiting_for("webhook"), "the post")
    [mail, _], [post] = mails.mails, hook.posts
    assert sorted(each.to for each in mails.mails) == [["one@example.org"], ["two@example.org"]]
    assert (mail.user, mail.message["To"]) == ("anna@example.org", "one@example.org, two@example.org")
    assert mail.message["Subject"] == "[Tidemark] raised: silent source: one"
    text = mail.message.get_content()  # type: ignore[attr-defined]
    assert json.loads(text[text.index("{") :]) == post
    assert post == {
        "schema": 1, "id": post["id"], "state": "raised", "cause": "silent source: one", "condition": "silent source",
        "kind": "thing", "identity": "one", "severity": "critical", "text": "expected news\nreceived none",
        "since": "1970-01-01T00:16:40Z", "at": "1970-01-01T00:16:40Z", "mend": "",
        "runbook": "docs/runbook/silent-source.md",
    }  # fmt: skip


def test_a_channel_that_fails_is_tried_again_alone(hook: Hook, tmp_path: Path) -> None:
    hook.statuses = [503, 500]
    with in_a_thread(MailServer()) as mails:
        url = SecretStr(f"smtp://127.0.0.1:{mails.port}?from=tidemark@example.org")
        settings = Settings(alert_webhook=SecretStr(hook.url), alert_mail_to="one@example.org", smtp_url=url)
        alerts = opened(tmp_path, tuple(channels(settings)))
        with delivering(settings, alerts) as deliveries:
            alerts.decide([seen("silent source")], 1000.0, True)
            deliveries.tell()
            until(lambda: len(hook.posts) == 3, "the post again", 60)
            until(lambda: not alerts.waiting_for("webhook"), "it to be taken")
    assert len({post["id"] for post in hook.posts}) == 1
    assert [mail.message["From"] for mail in mails.mails] == ["tidemark@example.org"]


@contextmanager
def posting(hook: Hook, alerts: Alerts) -> Iterator[Delivery]:
    """The webhook's channel, which waits little before it tries again, until what it refuses has been tried again."""
    settings = Settings(alert_webhook=SecretStr(hook.url))
    delivery = Delivery(settings, alerts, "webhook", to_webhook, retry=(0.01,), refused=(0.02, 0.04))
    delivery.start()
    try:
        yield delivery
    finally:
        delivery.close()
        delivery.join()


FLOW, MART = "failing source", "silent source"  # raised at once


@pytest.mark.parametrize(("status", "tries"), [(403, 1), (500, TRIES)])
def test_an_alert_that_is_refused_keeps_no_other_waiting_and_is_raised_before_it_is_over(
    status: int, tries: int, hook: Hook, tmp_path: Path
) -> None:
    hook.refuses = {"union select": status}
    alerts, bad = opened(tmp_path), seen(FLOW, sentence="received union select")
    with posting(hook, alerts) as delivery:
        alerts.decide([bad], NOW, True)
        alerts.decide([bad, seen(MART)], NOW + 1, True)
        alerts.decide([], NOW + 2, True)  # neither is said to be over before it was raised
        delivery.news.set()
        until(lambda: len(alerts.waiting_for("webhook")) == 1, "the other alert to be taken")
        [(left, word)] = alerts.waiting_for("webhook")
        until(lambda: left.row()["refused_by"].get("webhook", {}).get("times", 0) > 2, "more tries")
        assert (left.cause, word) == (f"{FLOW}: one", "raised")
        assert left.row()["not_taken_by"] == ["webhook"]
        hook.refuses = {}
        until(lambda: not alerts.waiting_for("webhook"), "what was refused")
    of = {name: [post["state"] for post in hook.posts if post["condition"] == name] for name in (FLOW, MART)}
    assert of[MART] == ["raised", "resolved"]
    assert of[FLOW][-3:] == ["raised", "raised", "resolved"]
    assert [post["condition"] for post in hook.posts][: tries + 1] == [FLOW] * tries + [MART]
    assert left.row()["refused_by"] == {}


def test_a_channel_that_is_away_is_tried_again_and_each_cause_is_said_in_its_order(hook: Hook, tmp_path: Path) -> None:
    hook.statuses = [503] * TRIES
    alerts = opened(tmp_path)
    for number, found in enumerate([[FLOW], [], [FLOW], [FLOW, MART], []]):
        alerts.decide([seen(name) for name in found], NOW + number, True)
    with posting(hook, alerts):
        until(lambda: not alerts.waiting_for("webhook"), "everything")
    taken = [(post["condition"], post["state"]) for post in hook.posts[TRIES:]]
    assert [state for name, state in taken if name == FLOW] == ["raised", "resolved"] * 2
    assert len(taken) == 6


def test_what_is_refused_is_given_up_after_days_or_once_the_next_of_its_cause_was_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alerts = opened(tmp_path)
    alerts.decide([seen(FLOW)], NOW - 1, True)
    [first] = alerts.open()
    assert alerts.refused(first, "webhook", NOW, True) == 1
    assert alerts.refused(first, "webhook", NOW + GIVE_UP_SECONDS - 1, True) == 2
    alerts.refused(first, "webhook", NOW + GIVE_UP_SECONDS, True)
    assert alerts.waiting_for("webhook") == []
    assert first.row()["refused_by"] == {
        "webhook": {"since": first.row()["refused_by"]["webhook"]["since"], "times": 3, "is_given_up": True}
    }
    assert "not delivered to the channel webhook: failing source: one: refused 3 times" in caplog.text
    again = opened(tmp_path)  # of a watcher that begins anew it is open still, and the channel may be mended
    [(alert, word)] = again.waiting_for("webhook")
    again.refused(alert, "webhook", NOW, True)
    again.decide([], NOW + 1, True)
    again.decide([seen(FLOW)], NOW + 2, True)
    second, _ = again.waiting_for("webhook")[1]
    again.taken(second, word, "webhook", NOW + 3)
    assert again.waiting_for("webhook") == []
    with sqlite3.connect(tmp_path / "history.sqlite") as connection:
        rows = [row.row() for row in kept(connection, 10)]
    assert [(row["not_taken_by"], list(row["refused_by"])) for row in rows] == [([], []), (["webhook"], ["webhook"])]


def test_an_address_that_is_refused_takes_no_mail_from_the_others_and_gives_them_none_twice(tmp_path: Path) -> None:
    with in_a_thread(MailServer()) as mails:
        mails.unknown = {"gone@example.org"}
        url = SecretStr(f"smtp://127.0.0.1:{mails.port}")
        settings = Settings(alert_mail_to="gone@example.org, Two <two@example.org>", smtp_url=url)
        gone, two = "mail gone@example.org", "mail two@example.org"
        alerts = opened(tmp_path, (gone, two))
        alerts.decide([seen(FLOW)], NOW, True)
        alerts.decide([seen(FLOW), seen(MART)], NOW + 1, True)
        with delivering(settings, alerts):
            until(lambda: not alerts.waiting_for(two), "both mails")
            until(lambda: all(gone in alert.refused for alert in alerts.open()), "both to be refused")
    assert [mail.to for mail in mails.mails] == [["two@example.org"]] * 2
    assert [alert.row()["not_taken_by"] for alert in alerts.open()] == [[gone]] * 2


ALERT = {
    "state": "raised",
    "cause": "a\nb",
    "text": "why",
    "since": "",
    "severity": "critical",
    "mend": "",
    "runbook": "",
}


def refused(send: Callable[..., None], settings: Settings) -> str:
    with pytest.raises(NotTaken) as error:
        send(settings, ALERT)
    return str(error.value)


def test_what_a_channel_says_when_it_refuses_holds_no_secret(hook: Hook) -> None:
    hook.statuses = [403]
    said = refused(to_webhook, Settings(alert_webhook=SecretStr(hook.url)))
    assert said == "expected TIDEMARK_ALERT_WEBHOOK to take an alert, received HTTP 403"
    with in_a_thread(MailServer(login=("anna", "another"))) as mails:
        to, to_one = {"alert_mail_to": "one@example.org"}, partial(to_mail, to="one@example.org")
        wrong = Settings(smtp_url=SecretStr(f"smtp://anna:{SECRET[:6]}@127.0.0.1:{mails.port}"), **to)  # type: ignore[arg-type]
        said = refused(to_one, wrong)
        assert "535" in said
        assert SECRET[:6] not in said
        mails.login = None
        mails.refusals = ["452 no room"]
        said = refused(to_one, Settings(smtp_url=SecretStr(f"smtp://127.0.0.1:{mails.port}"), **to))  # type: ignore[arg-type]
        assert "no room" in said
    said = refused(to_one, Settings(smtp_url=SecretStr(f"smtp://127.0.0.1:{mails.port}"), **to))  # type: ignore[arg-type]
    assert f"expected 127.0.0.1:{mails.port} to take a mail, received" in said


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mail_is_handed_over_by_tls_where_it_is_offered_and_to_nobody_who_cannot_prove_who_it_is(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = certificate(tmp_path, "authority", None)
    certificate(tmp_path, "server", signer, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with in_a_thread(MailServer(("anna", SECRET[:6]), context, is_tls=scheme == "smtps")) as mails:
        url = SecretStr(f"{scheme}://anna:{SECRET[:6]}@127.0.0.1:{mails.port}")
        settings = Settings(alert_mail_to="one@example.org", smtp_url=url)
        assert "certificate verify failed" in refused(partial(to_mail, to="one@example.org"), settings)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        to_mail(settings, ALERT, "one@example.org")
    [mail] = mails.mails
    assert mail.is_encrypted
    assert mail.message["Subject"] == "[Tidemark] raised: a\\nb"


@pytest.mark.parametrize(
    ("url", "to", "said"),
    [
        (f"http://anna:{QUOTED}@host", "a@b.c", "another scheme"),
        (f"smtp://anna:{QUOTED}@host:1x", "a@b.c", "no URL"),
        ("smtp://anna:w%C3%B6rd@host", "a@b.c", "letters beyond ASCII"),
        (f"smtp://anna:{QUOTED}@host", None, "TIDEMARK_ALERT_MAIL_TO: expected both"),
        (None, "a@b.c", "TIDEMARK_SMTP_URL: expected both"),
        (f"smtp://anna:{QUOTED}@host", ",", "TIDEMARK_ALERT_MAIL_TO: expected addresses"),
    ],
)
def test_settings_of_mail_that_cannot_work_are_refused_and_not_shown(
    url: str | None, to: str | None, said: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        channels(Settings(smtp_url=None if url is None else SecretStr(url), alert_mail_to=to))
    assert said in str(error.value)
    assert SECRET not in str(error.value)


def test_the_table_refuses_a_condition_that_waits_for_none() -> None:
    from tidemark import typed_yaml
    from watch.conditions import _check

    wrong = "lag: {severity: warning, page: x, unless: [no such thing]}\n"
    with pytest.raises(
        TidemarkError, match="expected a condition of this file, or one of one thing, received 'no such"
    ):
        typed_yaml.parse(wrong, "conditions.yml", Condition, _check)


@pytest.mark.parametrize("said", ["no json", "[]", '{"id": 1}', b"\xff\xfe"])
def test_a_row_that_is_no_alert_is_left_out_and_said(said: object, tmp_path: Path, caplog: Any) -> None:
    connection = connect(Settings(home=tmp_path))
    Alerts(connection, read_conditions(), ["test"])
    connection.execute("insert into alert values ('1', 4e9, null, cast(? as text))", (said,))
    assert Alerts(connection, read_conditions(), ["test"]).open() == []
    assert "expected an alert in the history" in caplog.text
