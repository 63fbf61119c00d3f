"""A flow run that fails posts to the webhook of the settings: a Prefect automation, declared here."""

from typing import Any

from tidemark.settings import Settings
from tidemark.webhook import payload

NAME = "tidemark: a flow run failed"
BLOCK = "tidemark-alert"
STATES = ("Failed", "Crashed", "TimedOut")
CAUSE = "flow {{ flow.name }} {{ flow_run.state.name }}"
PAGE = "docs/runbook/flow-run-failed.md"
BODY = f"{{{{ flow_run.name }}}}: {{{{ flow_run.state.message }}}}\n{PAGE}"


def apply(settings: Settings) -> bool:
    """Make Prefect's automation what the settings say: one that posts, or none. Whether there is one now.

    Needs a Prefect session. The post is tidemark.webhook's payload; the block keeps the URL as a secret.
    """
    automation = _find()
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


def _find() -> Any:
    from prefect.automations import Automation

    try:
        return Automation.read(name=NAME)
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
            match={"prefect.resource.id": "prefect.flow-run.*"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[SendNotification(block_document_id=block_id, subject=CAUSE, body=BODY)],
    )
