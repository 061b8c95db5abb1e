"""`flask mail`: the outbox."""

from __future__ import annotations

from typing import Any

import click

from opsapp.cli.base import OpsGroup
from opsapp.cli.decorators import answers, findings, page_options, works
from opsapp.cli.messages import say

SHOWN = ("id", "kind", "recipient", "state", "attempts", "next_at", "error")
SEEN = ("id", "created_at", "recipient", "subject", "state", "error")
FIELDS = (
    "id", "kind", "recipient", "subject", "state", "created_at", "attempts", "next_at", "sent_at",
    "error",
)  # fmt: skip


@click.group(cls=OpsGroup)
def cli() -> None:
    """List and send queued mail.

    Mail is kept until a server accepts it, for at most three days. Call
    `flask mail send-pending` every few minutes.
    """


@cli.command("list")
@click.option("--pending", is_flag=True, help="Only messages that are not sent yet.")
@page_options()
@answers(*SHOWN, fields=FIELDS, noun="messages", table=SEEN)
def list_cmd(pending: bool, limit: int | None) -> list[dict[str, Any]]:
    """List the newest messages, without their text.

    A message may hold a link that signs in, so only its recipient reads the text.

    \b
    Example:
      flask mail list --pending
    """
    from opsapp.mail import outbox

    return outbox.listing(pending=pending, limit=limit)


@cli.command("send-pending")
@works(*SHOWN)
def send_pending_cmd(dry_run: bool) -> list[dict[str, Any]]:
    """Send all messages that are due.

    Exits 6 if one could not be sent; it is tried again later. Two processes do not
    send a message twice. If none is due, it says when the next one is.

    \b
    Example:
      flask mail send-pending
    """
    from opsapp.mail import outbox

    messages = outbox.send_pending(dry_run=dry_run)
    findings(not dry_run and any(message["state"] != "sent" for message in messages))
    if not messages:
        _say_next_due()
    return messages


def _say_next_due() -> None:
    from opsapp.clock import rfc3339
    from opsapp.mail import outbox

    count, _since, due = outbox.count_waiting()
    if due is not None:
        until = rfc3339(due.replace(microsecond=0))
        say(f"Nothing is due: {outbox.in_words(count)}, the next one until {until}.")
