"""The state of the database: its revision, its size, and what keeps it from being ready."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from .. import migrations
from ..accounts.lookup import get_role
from ..engine import connections
from ..engine.conditions import translate_error
from ..errors import Busy, NotReady, OpsError
from ..extensions import db, this_app
from ..models import ADMIN, AuditHead, Grant, Role, User
from ..state import is_built_on
from ..types import Record
from ..unit.ledger import read_head, refuse_other_owner, refuse_revisions
from . import lineage

TRIPS = 3
"""The shortest of so many counts as the latency: a busy host delays single ones."""


def check_files() -> None:
    """Return if the migrations of this code, and the application's, are one line each.

    :raises NotReady: they are not; names the files, and says how to mend it.
    """
    lineage.check(migrations.folders(this_app()))


def revision_or_none() -> str | None:
    try:
        return revision()
    except NotReady as error:
        if error.hint == "flask db init":
            return None  # There is no SQLite file yet.
        raise


def has_tables() -> bool:
    try:
        return sa.inspect(db.our_engine).has_table(AuditHead.__tablename__)
    except NotReady:
        return False  # There is no SQLite file yet.


def last_event() -> int | None:
    """Return the number of the newest audit event; None where there is no audit."""
    if not has_tables():
        return None
    head = read_head(db.ours())
    db.ours.rollback()
    return head.seq if head else None


def revision() -> str | None:
    """Return the revisions of the database, by name; None before the first migration.

    :raises NotReady: there is no SQLite file, or the server cannot be reached.
    """
    present = present_revisions()
    revisions = (branch.at(present) for branch in migrations.branches(this_app()))
    return " ".join(sorted(at for at in revisions if at)) or None


def head_revision() -> str:
    """Return the revisions of this code, and the application's, as :func:`revision` does."""
    return " ".join(sorted(migrations.heads(this_app())))


def present_revisions() -> Sequence[str]:
    """Return every revision that is written in the database.

    :raises NotReady: there is no SQLite file, or the server cannot be reached.
    """
    try:
        return migrations.present(db.ours())
    except exc.DBAPIError as error:
        db.ours.rollback()
        condition = translate_error(error)
        if condition is not None and condition.hint == "flask db init":
            return ()  # There is no such table.
        raise


def check_revision() -> None:
    """Return if the schema is the one this code was written for, the application's too.

    :raises NotReady: it is empty, behind or ahead, or the migrations are not one line;
        says which.
    """
    check_files()
    _check_schema()


def _check_schema() -> None:
    present = present_revisions()
    if not present and not has_tables():
        raise NotReady("the database is not initialised", hint="flask db init")
    refuse_revisions(present)


def status() -> Record:
    """Return the state of the database: reachable, latency, revision, environment, sizes.

    ``ready`` is the answer: reachable, at this code's revision, of this environment, of these
    secrets, and ``writable``, which is None where the schema is not this code's: it is not tried.
    ``because`` is the first condition that does not hold, in words.

    :raises NotReady: it cannot be reached, or the migrations are not one line.
    """
    check_files()
    return measure()


def _round_trip() -> float:
    """Return the seconds in which the database answers, once it is connected."""
    start = time.perf_counter()
    db.ours.execute(sa.select(1))
    return time.perf_counter() - start


def measure() -> Record:
    """Return the same of the database alone.

    :raises NotReady: it cannot be reached.
    """
    at = revision()
    latency = min(_round_trip() for _ in range(TRIPS))
    head = head_revision()
    stamp = read_head(db.ours()) if at == head else None
    because = _hindrance()
    return {
        "ready": because is None,
        "because": because,
        "database": connections.shown_url(db.our_engine.url),
        "latency_ms": round(latency * 1000, 2),
        "revision": at,
        "head": head,
        "behind": at != head,
        "writable": _is_writable() if at == head else None,
        "environment": stamp and stamp.environment,
        "size_bytes": _size(),
        **dict.fromkeys(("users", "roles", "grants", "events")),
        **(_counts() if at == head else {}),
    }


def _hindrance() -> str | None:
    """Return why the database is not ready, or None."""
    try:
        _check_database()
    except OpsError as error:
        return error.message
    return None


def check_ready() -> None:
    """Return if the database can be written to by this code, as it is configured.

    :raises OpsError: it is away, behind or ahead, another environment's or not initialised, or
        a secret is not its own; or the migrations are not one line.
    """
    check_files()
    _check_database()


def _check_database() -> None:
    try:
        _check_schema()
        head = read_head(db.ours())
        if head is None:
            raise NotReady("the audit log has no head", hint="flask db init")
        refuse_other_owner(head)
        if is_built_on(this_app()):
            get_role(ADMIN)
    except exc.SQLAlchemyError as error:
        db.ours.rollback()
        raise translate_error(error) or error from error
    check_writable()


def check_writable() -> None:
    """Try a write that is rolled back.

    :raises NotReady: the database refuses it, such as a standby or a full disk; says why.
    """
    db.ours.rollback()  # Without WAL, its open read would keep others from writing.
    try:
        with db.our_engine.connect().execution_options(writing=True, patience=0) as connection:
            _write_nothing(connection)
    except exc.DBAPIError as error:
        raise translate_error(error) or error from error
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
        driver.execute("PRAGMA busy_timeout=0")
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
    if db.our_engine.dialect.name == "sqlite":
        path = connections.sqlite_file(db.our_engine)
        return sum(p.stat().st_size for p in (Path(path), Path(f"{path}-wal")) if p.exists())
    return db.ours.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0


def _counts() -> dict[str, int]:
    """Return the numbers of what the tables hold; of accounts, where they are opsapp's."""
    count = sa.select(sa.func.count())
    queries = {"events": sa.select(AuditHead.seq)}
    if is_built_on(this_app()):
        queries |= {
            "users": count.select_from(User).where(User.deleted_at.is_(None)),
            "roles": count.select_from(Role).where(Role.deleted_at.is_(None)),
            "grants": count.select_from(Grant).where(Grant.is_live()),
        }
    return {name: db.ours.scalar(query) or 0 for name, query in queries.items()}
