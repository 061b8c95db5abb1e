"""Setup: bring the database to head, stamped and with the built-in roles."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from .. import migrations
from ..accounts import roles
from ..engine.conditions import translate_error
from ..engine.connections import sqlite_file
from ..errors import NotReady
from ..extensions import db, this_app
from ..settings import config
from ..state import is_built_on
from ..types import Record
from ..unit.ledger import begin_pepper, no_revision, other_revision, read_head, refuse_other_owner
from ..unit.work import Unit
from . import environment, migration_run, status


def init(*, wait: float = 0, wal: bool = True, unit: Unit) -> Record:
    """Make this database ready: migrate it to head, stamp the environment, seed the roles.

    Running it again changes nothing; running it on several hosts at once, each
    waits for the first and finds it done; a killed run leaves nothing to mend,
    because the schema changes in one transaction.

    :param wait: seconds to wait for the database server to come up.
    :param wal: keep a SQLite file in WAL mode; one of an application that opsapp is attached
        to is the application's.
    :raises Conflict: a table that is not ours has the name of one of ours.
    :raises NotReady: it did not come up, or its schema is newer than this code.
    :raises Refused: it is stamped with another environment's name.
    """
    status.check_files()
    wait_until_reachable(wait)
    before = status.revision_or_none()
    if before is not None and not status.has_tables():
        raise NotReady(
            f"the database is at revision {before} without opsapp's tables, which were dropped",
            hint="restore a backup; or drop the database, and run flask db init",
        )
    if before is not None:
        migration_run.refuse_other_schema(db.ours.connection())
        _refuse_other_owner()
        _refuse_newer()
    elif status.has_tables() and status.revision() is None:
        # Asked twice: another process may have made both in between, in one transaction.
        raise no_revision()
    _refuse_foreign_tables()
    pending = before != status.head_revision()
    if unit.dry_run:
        return _plan(before, pending, unit)
    # Of several hosts that find it pending, one migrates; the others find it done.
    migrated = pending and _upgrade(unit)
    into_wal = wal and _keep_wal()
    with unit:
        migration_run.record_unrecorded(status.present_revisions(), unit=unit)
        if is_built_on(this_app()):
            begin_pepper(unit.ours)
            roles.ensure_admin(unit)
    return {
        "revision": status.head_revision(),
        "before": before,
        "environment": config.environment(),
        "changed": migrated or into_wal or unit.changed,
    }


def _plan(before: str | None, pending: bool, unit: Unit) -> Record:
    """Return the plan of :func:`init`. A schema cannot be tried and rolled back on a dry run."""
    if pending:
        head = status.head_revision()
        unit.record(
            "database:schema:upgrade",
            "database",
            before={"revision": before},
            after={"revision": head},
        )
    return {
        "revision": before,
        "before": before,
        "environment": config.environment(),
        "changed": pending,
    }


def _keep_wal() -> bool:
    """Return whether a SQLite file was put into WAL mode: it may be a copy in another one."""
    if db.our_engine.dialect.name != "sqlite":
        return False
    mode = db.ours.scalar(sa.text("PRAGMA journal_mode"))
    db.ours.rollback()
    if mode == "wal":
        return False
    with migration_run.lock(wal=True):  # It sets the mode.
        return True


def _upgrade(unit: Unit) -> bool:
    """Migrate to head; whether a step was left to do once it was this process's turn."""
    db.ours.rollback()
    with migration_run.on_behalf_of(unit) as steps:
        environment.upgrade()
    return bool(steps)


def wait_until_reachable(seconds: float) -> None:
    """Return once the database answers.

    :raises NotReady: it has not within ``seconds``; says why.
    """
    if db.our_engine.dialect.name == "sqlite":
        return  # A file is there, or is made.
    deadline = time.monotonic() + seconds
    while True:
        try:
            with db.our_engine.connect() as connection:
                connection.execute(sa.select(1))
        except exc.OperationalError as error:
            if time.monotonic() >= deadline:
                raise translate_error(error) or error from error
            time.sleep(0.2)
        else:
            return


def _refuse_foreign_tables() -> None:
    if db.our_engine.dialect.name == "sqlite" and not Path(sqlite_file(db.our_engine)).exists():
        return
    migration_run.refuse_foreign_tables(db.ours.connection())
    db.ours.rollback()


def _refuse_newer() -> None:
    present = status.present_revisions()
    for branch in migrations.branches(this_app()):
        at = branch.at(present)
        if at and branch.number(at) > branch.number(branch.head):
            raise other_revision(at, branch)


def _refuse_other_owner() -> None:
    head = read_head(db.ours())
    db.ours.rollback()
    if head is not None:
        refuse_other_owner(head)
