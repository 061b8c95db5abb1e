"""`flask ops db`: the application's own migrations, alone and audited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opsapp.cli.base import OpsGroup
from opsapp.cli.decorators import changes
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit


@click.group("db", cls=OpsGroup)
def cli() -> None:
    """Migrate the application's own tables.

    `flask db` stays the application's; opsapp's tables are migrated by `flask ops init`.
    """


@cli.command("upgrade")
@click.argument("revision", default="head")
@changes("before", "revision", "steps", key="revision")
def upgrade_cmd(revision: str, unit: Unit) -> Record:
    """Run the application's own migrations, alone and audited.

    Runs its `flask db upgrade`. Of several hosts one migrates, and the others wait. It has the
    application's own engine, and what it prints goes to stderr.

    \b
    Example:
      flask ops db upgrade --reason "release 12"
    """
    from flask.cli import ScriptInfo

    from opsapp.database import attached

    info = click.get_current_context().ensure_object(ScriptInfo)
    return attached.upgrade(revision, app_path=info.app_import_path, unit=unit)
