"""Prefect's automations, declared here: a silent flow run is Crashed, and a silent watcher is posted to the webhook."""

from datetime import timedelta
from typing import Any

from tidemark.settings import Settings

TAG = "tidemark"  # marks deployments, which may be removed by it, and every run that is ours
FORMER_NAME = "tidemark: a flow run failed"
WATCHER_NAME = "tidemark: the watcher gave no sign of life"
BLOCK = "tidemark-alert"
WATCHER, BEAT = "tidemark.watcher", "tidemark.watcher.beat"
WATCHER_SILENCE_SECONDS = 300
WATCHER_CAUSE = "the watcher does not run"
WATCHER_SAID = f"expected a sign of life of the watcher each minute, none came for {WATCHER_SILENCE_SECONDS} s"
# What every alert posts (docs/alerts.md), as far as it is known here; Prefect fills in the two texts.
PAYLOAD = {
    "schema": 1, "id": "", "state": "raised", "cause": "{{subject}}", "condition": "{{subject}}", "kind": "server",
    "identity": "watcher", "severity": "critical", "text": "{{body}}", "since": "", "at": "", "mend": "tidemark up",
    "runbook": "docs/runbook/watcher-does-not-run.md",
}  # fmt: skip

SILENT_NAME = "tidemark: a flow run gave no sign of life"
HEARTBEAT = "prefect.flow-run.heartbeat"
BEGUN = {HEARTBEAT, "prefect.flow-run.Pending", "prefect.flow-run.Running"}
# Any of these within the time, or the run is Crashed. A run that goes back to its schedule waits for nobody.
SIGNS = {
    HEARTBEAT,
    *(
        f"prefect.flow-run.{state}"
        for state in (
            "Running", "Completed", "Failed", "Crashed", "TimedOut", "Cancelled", "Paused", "Suspended", "Scheduled",
            "AwaitingConcurrencySlot", "AwaitingRetry", "Late", "Resuming",
        )
    ),
}  # fmt: skip
# Of a server that others use too, what we run alone: their runs give their signs when it suits them.
RUNS = {"prefect.resource.id": "prefect.flow-run.*"}
OURS = {"prefect.resource.id": f"prefect.tag.{TAG}"}


def apply(settings: Settings) -> None:
    """Make Prefect's automations what the settings say. Needs a Prefect session.

    That runs fail is an observation of the watcher's, and so an alert: an older version's automation for it goes.
    """
    crash_the_silent(settings)
    watch_the_watcher(settings)
    if former := _find(FORMER_NAME):
        former.delete()


def ensure(settings: Settings) -> None:
    """Before a run by hand: whoever has no webhook in their shell does not take away the one that is served."""
    crash_the_silent(settings)
    if settings.alert_webhook is not None or _find(WATCHER_NAME) is None:
        watch_the_watcher(settings)


def crash_the_silent(settings: Settings) -> None:
    """Whatever ran it, a run of ours without a sign for so long is Crashed by Prefect's server, and its slot free.

    It counts from a run's last sign on; while it stays as it is, it is left alone, as a change would forget them.
    """
    _declare(_silent(settings.flow_silence_seconds))


def _declare(wanted: Any) -> None:
    there = _find(wanted.name)
    if there is None:
        wanted.create()
    elif _said(there) != _said(wanted):
        wanted.id = there.id
        wanted.update()


def _said(automation: Any) -> tuple[Any, ...]:
    trigger = automation.trigger
    of_which = trigger.match, trigger.match_related, trigger.for_each
    return trigger.after, trigger.expect, trigger.within, of_which, automation.actions, automation.enabled


def _silent(seconds: int) -> Any:
    from prefect.automations import Automation, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    return Automation(
        name=SILENT_NAME,
        description="A flow run whose process is gone without a word is Crashed (TIDEMARK_FLOW_SILENCE_SECONDS)",
        trigger=EventTrigger(
            after=BEGUN,
            expect=SIGNS,
            match=RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"its process gave no sign of life for {seconds} s: killed, or the machine was asleep",
            )
        ],
    )


def watch_the_watcher(settings: Settings) -> None:
    """Where the watcher gave no sign for so long, Prefect's server shows that, and posts it: the watcher cannot."""
    webhook = settings.alert_webhook
    block_id = None if webhook is None else _save_block(webhook.get_secret_value())
    _declare(_missing(block_id))


def _missing(block_id: Any) -> Any:
    from prefect.automations import Automation, EventTrigger, Posture
    from prefect.events.actions import DoNothing, SendNotification

    post = SendNotification(block_document_id=block_id, subject=WATCHER_CAUSE, body=WATCHER_SAID) if block_id else None
    return Automation(
        name=WATCHER_NAME,
        description="The watcher gives a sign each minute; without one nobody would hear of anything else",
        trigger=EventTrigger(
            after={BEAT},
            expect={BEAT},
            match={"prefect.resource.id": WATCHER},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=WATCHER_SILENCE_SECONDS),
        ),
        actions=[post or DoNothing()],  # that it triggered its UI shows by itself
    )


def _find(name: str) -> Any:
    from prefect.automations import Automation

    try:
        return Automation.read(name=name)
    except ValueError:
        return None


def _save_block(url: str) -> Any:
    """The block's id; a block of that name is overwritten. It keeps the URL as a secret."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.types import SecretDict

    block = CustomWebhookNotificationBlock(
        name=BLOCK,
        url="{{address}}",
        json_data=PAYLOAD,
        secrets=SecretDict({"address": url}),
        headers=None,
        cookies=None,
    )
    return block.save(BLOCK, overwrite=True)
