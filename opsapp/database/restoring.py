"""Restoring: a copy of the database in its place again, whole or not at all."""

from __future__ import annotations

import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from .. import migrations, text
from ..audit.stored import moment_of_a_dump
from ..engine import connections
from ..errors import Busy, Invalid, OpsError
from ..extensions import db, this_app
from ..models import AuditEvent, AuditHead
from ..types import Record
from ..unit.ledger import Head, other_revision, refuse_other_owner
from . import dumps, migration_run

PATIENCE = 5.0
"""Seconds to wait for other processes that use the database."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A checked copy of this database."""

    file: str
    head: Head
    """The end of its chain."""
    revisions: tuple[str, ...]
    tables: frozenset[str]

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return Path(self.file).stat().st_size

    def events(self) -> Iterator[Record]:
        """Yield the events of its audit in order, as they are stored."""
        for event in _rows(self.file, AuditEvent.__tablename__, ordered_by="seq"):
            yield event if _is_sqlite() else {**event, "at": moment_of_a_dump(event["at"])}


def examine(file: str) -> Copy:
    """Return a copy, after a check that it is whole, ours and not newer than this code.

    :raises Invalid: the file is no copy of this kind of database, or is damaged.
    :raises WrongSecret: a secret is not the one that the copy was made under.
    :raises Refused: it is of another environment.
    :raises NotReady: this code does not know its revision.
    """
    if not Path(file).is_file():
        raise Invalid(f"{file} is no file")
    if _is_sqlite():
        _refuse_incomplete(file)
    tables = _sqlite_tables(file) if _is_sqlite() else dumps.tables(file)
    for table in (AuditHead.__tablename__, AuditEvent.__tablename__, migrations.VERSION_TABLE):
        if table not in tables:
            raise Invalid(f"{file} is not a backup of this database: it has no {table}")
    heads = list(_rows(file, AuditHead.__tablename__))
    if len(heads) != 1:
        raise Invalid(f"{file} has {len(heads)} heads of the audit log and not one")
    head = Head(**{field.name: heads[0][field.name] for field in fields(Head)})
    head.seq = int(head.seq)
    refuse_other_owner(head)
    revisions = tuple(row["version_num"] for row in _rows(file, migrations.VERSION_TABLE))
    _refuse_unknown(revisions)
    return Copy(file, head, revisions, frozenset(tables))


def later_tables(copy: Copy) -> list[str]:
    """Return the tables of the database that were made after the copy, which go with it.

    Empty for a database that cannot be read.
    """
    try:
        return sorted({*sa.inspect(db.engine).get_table_names()} - copy.tables)
    except (sa.exc.SQLAlchemyError, OpsError):
        return []


def replace(copy: Copy) -> None:
    """Put the copy in the place of the database, in one transaction.

    :raises Busy: another process uses the database, or holds its gate.
    :raises OpsError: it failed, and nothing was changed.
    """
    later = later_tables(copy)
    db.session.remove()
    with migration_run.lock():
        if _is_sqlite():
            _replace_sqlite(copy.file)
        else:
            dumps.replace(copy.file, later, patience=PATIENCE)
    for engine in db.engines.values():
        engine.dispose()


def _is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"


def _rows(file: str, table: str, ordered_by: str | None = None) -> Iterator[Record]:
    read = _sqlite_rows if _is_sqlite() else dumps.rows
    return read(file, table, ordered_by)


def _refuse_unknown(revisions: tuple[str, ...]) -> None:
    """Refuse a copy that this code could not migrate afterwards.

    :raises NotReady: it is newer, or at a migration that the application lacks.
    """
    for branch in migrations.branches(this_app()):
        at = branch.at(revisions)
        if at and at not in branch.revisions:
            raise other_revision(at, branch)


# --- sqlite ------------------------------------------------------------------


def _open_copy(file: str) -> Any:
    address = f"file:{quote(str(Path(file).resolve()))}?mode=ro&immutable=1"
    copy = sqlite3.connect(address, uri=True)
    copy.row_factory = sqlite3.Row
    return closing(copy)


def _refuse_incomplete(file: str) -> None:
    """Refuse the database itself, and a copy whose last changes are in a file beside it.

    A copy is read without such files, so these changes would be lost and not be missed.
    """
    place = Path(connections.sqlite_file(db.engine))
    if place.exists() and place.samefile(file):
        raise Invalid(f"{file} is the database itself, and no copy of it")
    path = Path(file).resolve()
    for end in ("-wal", "-journal"):
        beside = path.with_name(path.name + end)
        if beside.exists() and beside.stat().st_size:
            hint = f"sqlite3 {shlex.quote(file)} 'PRAGMA journal_mode=DELETE', and again"
            raise Invalid(f"{file} is incomplete without {beside.name}", hint=hint)


def _sqlite_tables(file: str) -> set[str]:
    try:
        with _open_copy(file) as copy:
            [remark] = copy.execute("PRAGMA integrity_check(1)").fetchone()
            if remark != "ok":
                raise Invalid(f"{file} is damaged: {text.truncate(remark)}")
            names = copy.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    except sqlite3.Error as error:
        raise Invalid(f"{file} is not a backup of this database: {text.safe(error)}") from error
    return {name for (name,) in names}


def _sqlite_rows(file: str, table: str, ordered_by: str | None) -> Iterator[Record]:
    order = f" ORDER BY {ordered_by}" if ordered_by else ""
    with _open_copy(file) as copy:
        for row in copy.execute(f"SELECT * FROM {table}{order}"):  # noqa: S608  (our own names)
            yield dict(row)


def _replace_sqlite(file: str) -> None:
    place = connections.sqlite_file(db.engine)
    try:
        with (
            _open_copy(file) as copy,
            closing(sqlite3.connect(place, timeout=PATIENCE)) as database,
        ):
            database.execute("BEGIN IMMEDIATE")  # The gate: a unit of work would hold it.
            database.rollback()
            copy.backup(database, progress=_Patience())
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise _in_use() from error
        raise OpsError(f"the restore failed and nothing was changed: {error}") from error
    except sqlite3.DatabaseError as error:
        hint = f"mv {place} {place}.damaged, and again"
        raise OpsError(f"{place} is damaged and cannot be written: {error}", hint=hint) from error


class _Patience:
    """Ends a copying that waits for another process, which SQLite would do forever."""

    def __init__(self) -> None:
        self._until = time.monotonic() + PATIENCE

    def __call__(self, status: int, _remaining: int, _total: int) -> None:
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            self._until = time.monotonic() + PATIENCE
        elif time.monotonic() > self._until:
            raise _in_use()


def _in_use() -> Busy:
    return Busy(
        "another process uses the database; nothing was changed",
        hint="stop the web server and cron, and try again",
    )
