"""Migrations of an application that opsapp is attached to: its own, run alone and audited.

They run as the application runs them, by its ``flask db upgrade`` in a process of its own:
with its engine, its driver and its ``env.py``. Ours is the lock, the plan and the event.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from flask import current_app

from .. import clock, text
from ..engine import locks
from ..errors import NotFound, NotReady, OpsError
from ..extensions import db
from ..types import Record
from ..unit import ledger
from ..unit.work import Unit, bookkeeping
from .migration_run import LOCK, LOCK_SECONDS

UPGRADE = "application:schema:upgrade"


def upgrade(revision: str, *, app_path: str | None, unit: Unit) -> Record:
    """Run the application's own migrations; other processes that do so wait, and find it done.

    The event is written after them, in a transaction of its own, and also if a later one
    of them has failed.

    :param app_path: the application as ``flask --app`` takes it.
    :raises NotFound: there is no such revision.
    :raises NotReady: the application has no Flask-Migrate, or our tables are not there.
    :raises OpsError: a migration failed; its output is on stderr.
    """
    _append(unit)
    with locks.hold_lock(db.our_engine, LOCK, wait=LOCK_SECONDS):
        before, steps = _present_revisions(), _pending_steps(revision)
        if unit.dry_run or not steps:
            after = steps[-1]["revision"] if steps else before
            if steps:
                unit.record(UPGRADE, "database", **_sides(before, after))
            return _answer(before, after, steps)
        code = _run(revision, app_path)
        after = _present_revisions()
        if before != after:
            _append(unit, _sides(before, after))
    if code:
        raise OpsError(
            f"flask db upgrade of the application ended with {code}, at {after or 'no revision'}",
            hint="its output is above",
        )
    return _answer(before, after, steps)


def _answer(before: str | None, after: str | None, steps: list[Record]) -> Record:
    return {
        "before": before,
        "revision": after,
        "steps": [f"{step['revision']} {step['summary']}" for step in steps],
        "changed": before != after,
    }


def _sides(before: str | None, after: str | None) -> dict[str, Record]:
    return {"before": {"revision": before}, "after": {"revision": after}}


def _append(unit: Unit, *sides: dict[str, Record]) -> None:
    """Append an event to the chain; without its sides, see whether one could be.

    The unit looks for an administrator, in a table which may lack a column until then.

    :raises NotReady: our tables are not there.
    """
    with bookkeeping() as session:
        head = ledger.take_gate(session)
        common = {
            "at": clock.now(),
            "actor": unit.actor.record(),
            "door": unit.door,
            "action": UPGRADE,
            "subject": "database",
            "reason": unit.reason,
            "correlation": unit.correlation,
        }
        for side in sides:
            ledger.append(session.connection(), head, [{**common, **side}])
            unit.seq = head.seq


def _run(revision: str, app_path: str | None) -> int:
    """Run the application's command; what it prints goes to stderr, as every message does."""
    db.session.rollback()
    environ = {**os.environ, **({"FLASK_APP": app_path} if app_path else {})}
    words = [sys.executable, "-P", "-m", "flask", "db", "upgrade", revision]
    return subprocess.run(words, env=environ, stdout=2, check=False).returncode  # noqa: S603  (the revision is an argument; no shell reads it)


# --- its migrations ----------------------------------------------------------


def _migrate() -> Any:
    migrate = current_app.extensions.get("migrate")
    if migrate is None:
        raise NotReady(
            "the application has no Flask-Migrate", hint="add Migrate(app, db) to its code"
        )
    return migrate


def _present_revisions() -> str | None:
    """Return the revisions that the application's version table has."""
    from alembic.migration import MigrationContext

    names = ("version_table", "version_table_schema")
    arguments = _migrate().configure_args
    with db.engine.connect() as connection:
        migration = MigrationContext.configure(
            connection, opts={name: arguments[name] for name in names if name in arguments}
        )
        return " ".join(sorted(migration.get_current_heads())) or None


def _pending_steps(revision: str) -> list[Record]:
    """Return the migrations that would run now, in their order.

    :raises NotFound: there is no such revision.
    :raises NotReady: there is no folder of migrations, or one of them cannot be read.
    """
    from alembic.util import CommandError

    script = _folder()
    present = tuple((_present_revisions() or "").split())
    try:
        # Alembic's own command calls it.
        steps: Any = script._upgrade_revs(revision, present)  # noqa: SLF001
        return [
            {"revision": step.revision.revision, "summary": step.revision.doc} for step in steps
        ]
    except CommandError as error:
        raise NotFound(text.first_line(error), hint="flask db history") from error


def _folder() -> Any:
    """Return the application's folder of migrations, with each of them read.

    :raises NotReady: it is not there, or a migration cannot be imported.
    """
    from alembic.script import ScriptDirectory

    config = _migrate().migrate.get_config()
    try:
        folder = ScriptDirectory.from_config(config)
        folder.get_heads()
    except Exception as error:  # A migration is the application's code, and may raise anything.
        raise NotReady(
            f"the application's migrations cannot be read: {text.first_line(error)}",
            hint="flask db heads",
        ) from error
    return folder
