"""The database's life: bring it to head, say how it is."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from .. import branch, config, engine, lineage
from ..errors import Busy, NotReady
from ..extensions import db, this_app
from ..ledger import is_ours, other_revision, read_head, refuse_other_owner, refuse_revisions
from ..models import ADMIN, AuditHead, Grant, Role, User
from ..unit import Unit
from . import migrating, roles
from .lookup import find_role

Record = dict[str, Any]


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
    check_files()
    added = branch.added(this_app())
    if added is not None:
        # Alembic walks down the first folder first, so it comes up last: it stands on ours.
        folders = (str(added.folder), str(branch.ours().folder))
        alembic.set_main_option("version_locations", os.pathsep.join(folders).replace("%", "%%"))
    return alembic


def check_files() -> None:
    """Return if the migrations of this code, and the application's, are one line each.

    :raises NotReady: they are not; names the files, and says how to mend it.
    """
    added = branch.added(this_app())
    lineage.check([branch.ours(), *([added] if added is not None else [])])


def place_of_new_migration() -> dict[str, str]:
    """The options with which Flask-Migrate writes into the application's folder, if it has one."""
    added = branch.added(this_app())
    if added is None:
        return {}
    if added.head is None:
        return {"version_path": str(added.folder), "head": "base", "branch_label": added.label}
    return {"version_path": str(added.folder), "head": f"{added.label}@head"}


def meant_revision(given: str) -> str:
    """What a revision means where an application has a branch beside ours.

    Both heads for ``head``; a step such as ``-1`` is one of the application's, whose
    tables stand on ours.
    """
    added = branch.added(this_app())
    if given == "head":
        return "heads"
    is_step = given[:1] in ("+", "-") and given[1:].isdigit()
    return f"{added.label}@{given}" if is_step and added is not None and added.head else given


def init(*, wait: float = 0, unit: Unit) -> Record:
    """Make this database ready: migrate it to head, stamp the environment, seed the roles.

    Running it again changes nothing; running it on several hosts at once, each
    waits for the first and finds it done; a killed run leaves nothing to mend,
    because the schema changes in one transaction.

    :param wait: seconds to wait for the database server to come up.
    :raises NotReady: it did not come up, or its schema is newer than this code.
    :raises Refused: it is stamped with another environment's name.
    """
    check_files()
    wait_until_reachable(wait)
    before = _revision_or_none()
    if before is not None:
        migrating.refuse_other_schema(db.session.connection())
        _refuse_other_owner()
        _refuse_newer()
    elif _has_tables() and revision() is None:
        # Asked twice: somebody may have made both in between, in one transaction.
        raise other_revision(None, branch.ours())
    pending = before != head_revision()
    if unit.dry_run:
        return _planned(before, pending, unit)
    # Of several hosts that find it pending, one migrates; the others find it done.
    migrated = pending and _upgrade(unit)
    _keep_wal()
    with unit:
        migrating.record_unrecorded(_present(), unit=unit)
        roles.ensure_admin(unit)
    return {
        "revision": head_revision(),
        "before": before,
        "environment": config.environment(),
        "changed": migrated or unit.changed,
    }


def _revision_or_none() -> str | None:
    try:
        return revision()
    except NotReady as error:
        if error.hint == "flask db init":
            return None  # There is no SQLite file yet.
        raise


def _has_tables() -> bool:
    try:
        return sa.inspect(db.engine).has_table(AuditHead.__tablename__)
    except NotReady:
        return False  # There is no SQLite file yet.


def _planned(before: str | None, pending: bool, unit: Unit) -> Record:
    """What :func:`init` would do. A schema cannot be tried and rolled back on a dry run."""
    if pending:
        head = head_revision()
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
            with migrating.lock():  # It sets the mode.
                pass


def _upgrade(unit: Unit) -> bool:
    """Migrate to head; whether a step was left to do once it was this process's turn."""
    import flask_migrate

    bind_migrations()
    db.session.rollback()
    with migrating.on_behalf_of(unit) as steps:
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
                raise engine.explained(error) or error from error
            time.sleep(0.2)
        else:
            return


def revision() -> str | None:
    """The revision the database is at, and the application's; None before the first migration.

    :raises NotReady: there is no SQLite file, or the server cannot be reached.
    """
    present = _present()
    found = (one.at(present) for one in branch.every(this_app()))
    return " ".join(at for at in found if at) or None


def head_revision() -> str:
    """The revision of this code, and the application's, as :func:`revision` says them."""
    return " ".join(branch.heads(this_app()))


def _present() -> Sequence[str]:
    """Every revision that is written in the database.

    :raises NotReady: there is no SQLite file, or the server cannot be reached.
    """
    try:
        return db.session.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
    except exc.DBAPIError as error:
        db.session.rollback()
        known = engine.explained(error)
        if known is not None and known.hint == "flask db init":
            return ()  # There is no such table.
        raise


def _refuse_newer() -> None:
    present = _present()
    for one in branch.every(this_app()):
        at = one.at(present)
        if at and one.number(at) > one.number(one.head):
            raise other_revision(at, one)


def check_revision() -> None:
    """Return if the schema is the one this code was written for, the application's too.

    :raises NotReady: it is empty, behind or ahead, or the migrations are not one line;
        says which.
    """
    check_files()
    present = _present()
    if not present and not _has_tables():
        raise NotReady("the database is not initialised", hint="flask db init")
    refuse_revisions(present)


def _refuse_other_owner() -> None:
    head = read_head(db.session())
    db.session.rollback()
    if head is not None:
        refuse_other_owner(head)


# --- looking -----------------------------------------------------------------


def status() -> Record:
    """How the database is: reachable, how fast, at which revision, whose, how large.

    ``ready`` is the answer: reachable, at this code's revision, of this environment, and
    ``writable``; the latter is not tried where the schema is not this code's.

    :raises NotReady: it cannot be reached, or the migrations are not one line.
    """
    check_files()
    return measured()


def measured() -> Record:
    """The same of the database alone.

    :raises NotReady: it cannot be reached.
    """
    started = time.perf_counter()
    at = revision()
    db.session.execute(sa.select(1))
    latency = time.perf_counter() - started
    head = head_revision()
    stamp = read_head(db.session()) if at == head else None
    writable = at == head and _is_writable()
    return {
        "ready": stamp is not None and is_ours(stamp) and find_role(ADMIN) is not None and writable,
        "database": engine.shown_url(db.engine.url),
        "latency_ms": round(latency * 1000, 1),
        "revision": at,
        "head": head,
        "behind": at != head,
        "writable": writable,
        "environment": stamp and stamp.environment,
        "size_bytes": _size(),
        **(
            _counts()
            if at == head
            else {"users": None, "roles": None, "grants": None, "events": None}
        ),
    }


def check_ready() -> None:
    """Return if the database can be written to by this code, as it is configured.

    :raises OpsError: it is away, behind or ahead, or another environment's.
    """
    try:
        check_revision()
        head = read_head(db.session())
    except exc.SQLAlchemyError as error:
        db.session.rollback()
        raise engine.explained(error) or error from error
    if head is None:
        raise NotReady("the audit has no head", hint="flask db init")
    refuse_other_owner(head)
    check_writable()


def check_writable() -> None:
    """Try a write that is rolled back.

    :raises NotReady: the database refuses it, such as a standby or a full disk; says why.
    """
    try:
        with db.engine.connect().execution_options(writing=True, patience=0) as connection:
            _write_nothing(connection)
    except exc.DBAPIError as error:
        raise engine.explained(error) or error from error
    except Busy:
        return  # Another process is writing to the file right now.


def _is_writable() -> bool:
    try:
        check_writable()
    except NotReady:
        return False
    return True


def _write_nothing(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        # Pages go to the disk at the commit, unless the cache has no room for them.
        connection.detach()
        driver: Any = connection.connection.dbapi_connection
        driver.execute("PRAGMA cache_size=1")
        connection.exec_driver_sql("CREATE TABLE opsapp_probe AS SELECT zeroblob(65536)")
    else:
        if connection.scalar(sa.select(sa.func.pg_is_in_recovery())):
            raise NotReady("the database cannot be written: it is a standby", hint="flask doctor")
        # Of the one row, which is passed over while a unit holds it.
        free = sa.select(AuditHead.id).with_for_update(skip_locked=True).scalar_subquery()
        connection.execute(
            sa.update(AuditHead).where(AuditHead.id == free).values(seq=AuditHead.seq)
        )


def _size() -> int:
    if db.engine.dialect.name == "sqlite":
        path = engine.sqlite_file(db.engine)
        return sum(p.stat().st_size for p in (Path(path), Path(f"{path}-wal")) if p.exists())
    return db.session.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0


def _counts() -> dict[str, int]:
    def count(query: sa.Select[int]) -> int:
        return db.session.scalar(query) or 0

    counted = sa.select(sa.func.count())
    return {
        "users": count(counted.select_from(User).where(User.deleted_at.is_(None))),
        "roles": count(counted.select_from(Role).where(Role.deleted_at.is_(None))),
        "grants": count(counted.select_from(Grant).where(Grant.is_live())),
        "events": count(sa.select(AuditHead.seq)),
    }
