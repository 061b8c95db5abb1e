"""`flask users logins`: login attempts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes, page_options
from opsapp.cli.options import SINCE, USER, Choices, older_than_option
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

POLL_SECONDS = 1.0
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

    They are not in the audit log, since they are many, and are kept for a limited time.
    """


@cli.command("list")
@click.argument("user", type=USER, required=False)
@click.option("--outcome", type=Choices(OUTCOMES), default=(), help="Only these outcomes: A,B.")
@click.option("--address", metavar="IP", help="Only logins from this address or IPv6 /64.")
@click.option("--since", type=SINCE, help="Start of the period, such as yesterday or 24h.")
@click.option("--follow", is_flag=True, help="Print new logins until Ctrl-C.")
@page_options()
@answers(
    "at", "user", "outcome", "ip", "user_agent",
    fields=("id", "at", "user_id", "user", "outcome", "ip", "user_agent"),
    live="follow",
    noun="logins",
)  # fmt: skip
def list_cmd(user: str | None, follow: bool, **criteria: Any) -> Iterable[Record]:
    """List the newest logins, including failed ones.

    Names without an account are not kept: a mistyped field may hold a password.

    \b
    Examples:
      flask users logins list --outcome locked,blocked --since 24h
      flask users logins list --address 203.0.113.7
    """
    from opsapp.accounts import logins

    if follow:
        return logins.follow(user=user, poll=lambda: time.sleep(POLL_SECONDS), **criteria)
    return logins.listing(user, **criteria)


@cli.command("prune")
@older_than_option("90d")
@changes("logins", "sessions", key="logins", destructive=True)
def prune_cmd(older_than: timedelta, unit: Unit) -> Record:
    """Delete old logins and ended sessions.

    Sessions that are open stay, however old.

    \b
    Example:
      flask users logins prune --older-than 90d --yes
    """
    from opsapp.accounts import logins

    approve("Delete the old logins?")
    return logins.prune(older_than=older_than, unit=unit)
