"""`flask ops init`, `status` and `drop`: opsapp's tables in an application's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opsapp.cli.base import OpsCommand
from opsapp.cli.confirm import agrees, approve, is_interactive
from opsapp.cli.decorators import CONFIRM, YES, answers, changes, findings, works
from opsapp.cli.messages import say
from opsapp.cli.options import WAIT, with_options
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.ops import Attached
    from opsapp.unit.work import Unit


@click.command("init", cls=OpsCommand)
@with_options(WAIT)
@click.option(
    "--wal/--no-wal",
    default=None,
    help="Put a SQLite file into WAL mode, so that readers and a writer do not wait for"
    " each other. Asks on a terminal.",
)
@changes("before", "revision", "environment", key="revision")
def init(wait: float, wal: bool | None, unit: Unit) -> Record:
    """Make opsapp's tables in this application's database.

    They are named ops_…, and have a version table of their own; no table of the
    application is touched. Running it again brings them up to date.

    \b
    Example:
      flask ops init --no-wal
    """
    from opsapp.database import setup

    _attachment().check_place()
    _say_what_drops_tables()
    if wal is None and _attachment().own is not None:
        wal = True  # The file is opsapp's alone.
    elif wal is None:
        wal = not unit.dry_run and _attachment().journal_mode not in (None, "wal") and _wants_wal()
    return setup.init(wait=wait, wal=wal, unit=unit)


def _wants_wal() -> bool:
    if not is_interactive():
        say("The SQLite file is not in WAL mode, so readers and writers wait: --wal changes that.")
        return False
    return agrees("Put the SQLite file into WAL mode?")


def _say_what_drops_tables() -> None:
    from opsapp.ops import autogenerate

    attached = _attachment()
    if attached.own is not None:
        return  # They are not in the database that it migrates.
    if obstacle := autogenerate.obstacle(attached.app, is_in_code=attached.is_in_code):
        reason, advice = obstacle
        say(f"Warning: flask db migrate would drop opsapp's tables: {reason}. {advice}")


def _attachment() -> Attached:
    from opsapp.extensions import this_app
    from opsapp.state import attachment_of

    attached: Attached = attachment_of(this_app())
    return attached


@click.command("status", cls=OpsCommand)
@answers()
def status() -> Record:
    """Show whether opsapp is attached and ready.

    Exits 0 if its tables are ready, 6 if they are not there, behind, another environment's
    or cannot be written, 7 if the database cannot be reached.

    \b
    Example:
      flask ops status --format json
    """
    from opsapp.database import status as database

    attached = _attachment()
    record = database.status()
    findings(not record["ready"])
    return {
        "application": attached.app.name,
        "attached": "by its own code" if attached.is_in_code else "by flask ops, for its commands",
        "instance": str(attached.instance),
        **{name: value for name, value in record.items() if name not in _OF_OUR_ACCOUNTS},
    }


_OF_OUR_ACCOUNTS = ("users", "roles", "grants")


@click.command("drop", cls=OpsCommand)
@with_options(YES, CONFIRM)
@works("table", "rows")
def drop(dry_run: bool, yes: bool, confirm: str | None) -> list[Record]:
    """Remove opsapp's tables, with their audit log and history.

    No table of the application is touched. `flask ops audit export` keeps the events
    before. Files are kept; the command prints their folder.

    \b
    Example:
      flask ops drop --dry-run
    """
    from opsapp.database import removal

    rows = removal.tables()
    if rows and not dry_run:
        approve("Remove opsapp's tables, with the audit log in them?", severe=True)
        removal.drop()
        wal = ", the WAL mode of the SQLite file" if _attachment().journal_mode == "wal" else ""
        say(f"Left: the folder {_attachment().instance}, lines of cron{wal}, and opsapp itself.")
    elif rows:
        say("Dry run: nothing was removed.")
    else:
        say("There are no tables of opsapp.")
    return rows
