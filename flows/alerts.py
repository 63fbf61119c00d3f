"""Prefect's automations, declared here: a silent flow run is Crashed, and one that fails posts to the webhook."""

from datetime import timedelta
from typing import Any

from flows.deployments import TAG
from tidemark.settings import Settings
from tidemark.webhook import payload

NAME = "tidemark: a flow run failed"
BLOCK = "tidemark-alert"
STATES = ("Failed", "Crashed", "TimedOut")
CAUSE = "flow {{ flow.name }} {{ flow_run.state.name }}"
PAGE = "docs/runbook/flow-run-failed.md"
BODY = "{{ flow_run.name }}: {{ flow_run.state.message }}"

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


def apply(settings: Settings) -> bool:
    """Make Prefect's automations what the settings say; whether there is one that posts now.

    Needs a Prefect session. The post is tidemark.webhook's payload; the block keeps the URL as a secret.
    """
    crash_the_silent(settings)
    return _apply_alert(settings)


def ensure(settings: Settings) -> None:
    """Before a run by hand: whoever has no webhook in their shell does not take away the one that is served."""
    crash_the_silent(settings)
    if settings.alert_webhook is not None:
        _apply_alert(settings)


def crash_the_silent(settings: Settings) -> None:
    """Whatever ran it, a run of ours without a sign for so long is Crashed by Prefect's server, and its slot free.

    It counts from a run's last sign on; while it stays as it is, it is left alone, as a change would forget them.
    """
    wanted, there = _silent(settings.flow_silence_seconds), _find(SILENT_NAME)
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


def _apply_alert(settings: Settings) -> bool:
    automation = _find(NAME)
    if settings.alert_webhook is None:
        if automation:
            automation.delete()
        return False
    wanted = _automation(_save_block(settings.alert_webhook.get_secret_value()))
    if automation:
        wanted.id = automation.id
        wanted.update()
    else:
        wanted.create()
    return True


def _find(name: str) -> Any:
    from prefect.automations import Automation

    try:
        return Automation.read(name=name)
    except ValueError:
        return None


def _save_block(url: str) -> Any:
    """The block's id; a block of that name is overwritten."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.types import SecretDict

    block = CustomWebhookNotificationBlock(
        name=BLOCK,
        url="{{address}}",
        json_data=payload("raised", "{{subject}}", "{{subject}}\n{{body}}", PAGE),
        secrets=SecretDict({"address": url}),
        headers=None,
        cookies=None,
    )
    return block.save(BLOCK, overwrite=True)


def _automation(block_id: Any) -> Any:
    from prefect.automations import Automation, EventTrigger, Posture
    from prefect.events.actions import SendNotification

    return Automation(
        name=NAME,
        description="Every failed, crashed or timed-out flow run posts to TIDEMARK_ALERT_WEBHOOK",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in STATES},
            match=RUNS,
            match_related=OURS,
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[SendNotification(block_document_id=block_id, subject=CAUSE, body=BODY)],
    )
