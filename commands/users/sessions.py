"""`flask users sessions`: browser sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes
from opsapp.cli.options import ID, USER
from opsapp.errors import Invalid
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

SHOWN = ("id", "user", "opened_at", "seen_at", "ip", "user_agent")
FIELDS = (
    "id", "user_id", "user", "opened_at", "seen_at", "expires_at", "ip", "user_agent",
)  # fmt: skip


@click.group("sessions", cls=OpsGroup)
def cli() -> None:
    """List and end browser sessions.

    A session is a browser that has signed in. It ends by itself after OPSAPP_SESSION_HOURS.
    """


@cli.command("list")
@click.argument("user", type=USER, required=False)
@answers(*SHOWN, fields=FIELDS, noun="sessions")
def list_cmd(user: str | None) -> list[Record]:
    """List the open sessions of one account or of all.

    The newest is first. Sessions that ended are not listed; `flask users logins list`
    has the logins.

    \b
    Example:
      flask users sessions list ada@example.com
    """
    from opsapp.accounts import sessions

    return sessions.listing(user)


@cli.command("end")
@click.argument("user", type=USER, required=False)
@click.argument("ids", metavar="[ID…]", type=ID, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="The sessions of all accounts.")
@changes("changed", *SHOWN, destructive=True)
def end_cmd(user: str | None, ids: tuple[int, ...], everything: bool, unit: Unit) -> list[Record]:
    """End all sessions of an account, or those with these ids.

    API tokens stay; `flask users tokens revoke` ends those.

    \b
    Examples:
      flask users sessions end ada@example.com --yes
      flask users sessions end --all --reason "stolen backup" --yes
    """
    from opsapp.accounts import sessions

    if everything == (user is not None):
        raise Invalid("name the user, or choose --all")
    if user is None:
        approve("End every session of every account?", severe=True)
        return sessions.end_all(unit=unit)
    subject = f"the session {', '.join(map(str, ids))}" if ids else "every session"
    approve(f"End {subject} of {user}?")
    return sessions.end(user, ids, unit=unit)
