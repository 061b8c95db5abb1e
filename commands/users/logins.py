"""`flask users logins`: log-in attempts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes, page_options
from opsapp.cli.options import SINCE, USER, older_than_option
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

OUTCOMES = (
    "success",
    "password",
    "unknown",
    "code",
    "inactive",
    "unconfirmed",
    "locked",
    "blocked",
)


@click.group("logins", cls=OpsGroup)
def cli() -> None:
    """List attempts to sign in, and delete old ones.

    They are not in the audit, since they are many, and are kept for a limited time.
    """


@cli.command("list")
@click.argument("user", type=USER, required=False)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only log-ins with this outcome.")
@click.option("--since", type=SINCE, help="Start: a time such as yesterday or 24h.")
@page_options()
@answers(
    "at", "user", "outcome", "ip", "user_agent",
    fields=("id", "at", "user_id", "user", "outcome", "ip", "user_agent"),
    noun="log-ins",
)  # fmt: skip
def list_cmd(
    user: str | None, outcome: str | None, since: datetime | None, limit: int | None
) -> list[Record]:
    """List the newest log-ins, including failed ones.

    Names without an account are not kept: a mistyped field may hold a password.

    \b
    Example:
      flask users logins list --outcome locked --since 24h
    """
    from opsapp.accounts import logins

    return logins.listing(user, outcome=outcome, since=since, limit=limit)


@cli.command("prune")
@older_than_option("90d")
@changes("logins", "sessions", key="logins", destructive=True)
def prune_cmd(older_than: timedelta, unit: Unit) -> Record:
    """Delete old log-ins and ended sessions.

    Sessions that are open stay, however old.

    \b
    Example:
      flask users logins prune --older-than 90d --yes
    """
    from opsapp.accounts import logins

    approve("Delete the old log-ins?")
    return logins.prune(older_than=older_than, unit=unit)
