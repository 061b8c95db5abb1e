"""Setup: bring the database to head, stamped and with the built-in roles."""

from __future__ import annotations

import os
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from .. import config, migrations
from ..accounts import roles
from ..engine.conditions import explained
from ..extensions import db, this_app
from ..types import Record
from ..unit.ledger import other_revision, read_head, refuse_other_owner
from ..unit.work import Unit
from . import migration_run, status

# --- migrating ---------------------------------------------------------------


def bind_migrations() -> None:
    """Bind Flask-Migrate to the current app; only its commands need Alembic."""
    from flask_migrate import Migrate

    if "migrate" not in this_app().extensions:
        migrate = Migrate(directory=str(config.migrations_folder()))
        migrate.configure(_with_added_branch)
        migrate.init_app(this_app(), db)


def _with_added_branch(alembic: Any) -> Any:
    """Let Alembic know the application's folder too; what ``-d`` names stays alone.

    :raises NotReady: the migrations are not one line.
    """
    if alembic.get_main_option("script_location") != str(config.migrations_folder()):
        return alembic
    status.check_files()
    added = migrations.added(this_app())
    if added is not None:
        # Alembic walks down the first folder first, so it comes up last: it stands on ours.
        folders = (str(added.folder), str(migrations.ours().folder))
        alembic.set_main_option("version_locations", os.pathsep.join(folders).replace("%", "%%"))
    return alembic


def place_of_new_migration() -> dict[str, str]:
    """Return the options that make Flask-Migrate write into the application's folder."""
    added = migrations.added(this_app())
    if added is None:
        return {}
    if added.head is None:
        return {"version_path": str(added.folder), "head": "base", "branch_label": added.label}
    return {"version_path": str(added.folder), "head": f"{added.label}@head"}


def target_revision(revision: str) -> str:
    """Return the revision for Alembic, where an application has a branch beside ours.

    Both heads for ``head``; a step such as ``-1`` is one of the application's, whose
    tables stand on ours.
    """
    added = migrations.added(this_app())
    if revision == "head":
        return "heads"
    is_step = revision[:1] in ("+", "-") and revision[1:].isdigit()
    return f"{added.label}@{revision}" if is_step and added is not None and added.head else revision


def init(*, wait: float = 0, unit: Unit) -> Record:
    """Make this database ready: migrate it to head, stamp the environment, seed the roles.

    Running it again changes nothing; running it on several hosts at once, each
    waits for the first and finds it done; a killed run leaves nothing to mend,
    because the schema changes in one transaction.

    :param wait: seconds to wait for the database server to come up.
    :raises NotReady: it did not come up, or its schema is newer than this code.
    :raises Refused: it is stamped with another environment's name.
    """
    status.check_files()
    wait_until_reachable(wait)
    before = status.revision_or_none()
    if before is not None:
        migration_run.refuse_other_schema(db.session.connection())
        _refuse_other_owner()
        _refuse_newer()
    elif status.has_tables() and status.revision() is None:
        # Asked twice: another process may have made both in between, in one transaction.
        raise other_revision(None, migrations.ours())
    pending = before != status.head_revision()
    if unit.dry_run:
        return _planned(before, pending, unit)
    # Of several hosts that find it pending, one migrates; the others find it done.
    migrated = pending and _upgrade(unit)
    _keep_wal()
    with unit:
        migration_run.record_unrecorded(status.present_revisions(), unit=unit)
        roles.ensure_admin(unit)
    return {
        "revision": status.head_revision(),
        "before": before,
        "environment": config.environment(),
        "changed": migrated or unit.changed,
    }


def _planned(before: str | None, pending: bool, unit: Unit) -> Record:
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


def _keep_wal() -> None:
    """Put an SQLite file back into WAL mode, if it was restored from a copy in another one."""
    if db.engine.dialect.name == "sqlite":
        mode = db.session.scalar(sa.text("PRAGMA journal_mode"))
        db.session.rollback()
        if mode != "wal":
            with migration_run.lock():  # It sets the mode.
                pass


def _upgrade(unit: Unit) -> bool:
    """Migrate to head; whether a step was left to do once it was this process's turn."""
    import flask_migrate

    bind_migrations()
    db.session.rollback()
    with migration_run.on_behalf_of(unit) as steps:
        flask_migrate.upgrade(revision="heads")
    return bool(steps)


def wait_until_reachable(seconds: float) -> None:
    """Return once the database answers.

    :raises NotReady: it has not within ``seconds``; says why.
    """
    if db.engine.dialect.name == "sqlite":
        return  # A file is there, or is made.
    deadline = time.monotonic() + seconds
    while True:
        try:
            with db.engine.connect() as connection:
                connection.execute(sa.select(1))
        except exc.OperationalError as error:
            if time.monotonic() >= deadline:
                raise explained(error) or error from error
            time.sleep(0.2)
        else:
            return


def _refuse_newer() -> None:
    present = status.present_revisions()
    for branch in migrations.every(this_app()):
        at = branch.at(present)
        if at and branch.number(at) > branch.number(branch.head):
            raise other_revision(at, branch)


def _refuse_other_owner() -> None:
    head = read_head(db.session())
    db.session.rollback()
    if head is not None:
        refuse_other_owner(head)
