"""`flask users sessions`: the browsers that are signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes
from opsapp.cli.options import ID, USER

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

SHOWN = ("id", "user", "opened_at", "seen_at", "ip", "user_agent")
FIELDS = (
    "id", "user_id", "user", "opened_at", "seen_at", "expires_at", "ip", "user_agent",
)  # fmt: skip


@click.group("sessions", cls=OpsGroup)
def cli() -> None:
    """List and end browser sessions.

    A session is a browser that has signed in; it ends by itself after OPSAPP_SESSION_HOURS.
    """


@cli.command("list")
@click.argument("user", type=USER, required=False)
@answers(*SHOWN, fields=FIELDS)
def list_cmd(user: str | None) -> list[dict[str, Any]]:
    """List the open sessions of one account or of all.

    The newest is first. Sessions that ended are not listed; `flask users logins list`
    has the log-ins.

    \b
    Example:
      flask users sessions list ada@example.com
    """
    from opsapp.accounts import sessions

    return sessions.listing(user)


@cli.command("end")
@click.argument("user", type=USER)
@click.argument("sessions", metavar="[ID…]", type=ID, nargs=-1)
@changes("changed", *SHOWN, destructive=True)
def end_cmd(user: str, sessions: tuple[int, ...], unit: Unit) -> list[dict[str, Any]]:
    """End all sessions of an account, or the given ones.

    API tokens stay; `flask users reset-access` ends those as well.

    \b
    Example:
      flask users sessions end ada@example.com --yes
    """
    from opsapp.accounts import sessions as service

    which = f"the session {', '.join(map(str, sessions))}" if sessions else "every session"
    approve(f"End {which} of {user}?")
    return service.end(user, sessions, unit=unit)
