"""Restoring: a copy of the database in its place again, whole or not at all."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote

from .. import text
from ..engine import connections
from ..errors import Busy, Invalid, NotReady, OpsError
from ..extensions import db
from ..models import AuditHead
from ..unit.ledger import Head, refuse_other_owner
from . import backups, migration_run

_TABLE = AuditHead.__tablename__


def head_of(file: str) -> Head:
    """Return the end of a copy's chain, after a check that the copy is whole and ours.

    :raises Invalid: the file is no copy of this kind of database.
    :raises WrongSecret: a secret is not the one that the copy was made under.
    :raises Refused: it is of another environment.
    """
    is_sqlite = db.engine.dialect.name == "sqlite"
    row = _row_of_sqlite(file) if is_sqlite else _row_of_dump(file)
    head = Head(**{field.name: row[field.name] for field in fields(Head)})  # type: ignore[arg-type]
    head.seq = int(head.seq)
    refuse_other_owner(head)
    return head


def replace(file: str) -> None:
    """Put the copy in the place of the database, in one transaction.

    :raises Busy: another process holds the database.
    :raises OpsError: it failed, and nothing was changed.
    """
    db.session.remove()
    with migration_run.lock():
        if db.engine.dialect.name == "sqlite":
            _replace_sqlite(file)
        else:
            _run_pg_restore(
                file,
                "--clean",
                "--if-exists",
                "--no-owner",
                "--single-transaction",
                "--exit-on-error",
                into=True,
            )
    for engine in db.engines.values():
        engine.dispose()


# --- sqlite ------------------------------------------------------------------


def _row_of_sqlite(file: str) -> Mapping[str, object]:
    address = f"file:{quote(str(Path(file).resolve()))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as copy:
            copy.row_factory = sqlite3.Row
            [remark] = copy.execute("PRAGMA integrity_check(1)").fetchone()
            if remark != "ok":
                raise Invalid(f"{file} is damaged: {text.shortened(remark)}")
            rows = copy.execute(f"SELECT * FROM {_TABLE}").fetchall()  # noqa: S608  (our own name)
    except sqlite3.Error as error:
        raise Invalid(f"{file} is no copy of this database: {text.safe(error)}") from error
    return _only(file, [dict(row) for row in rows])


def _replace_sqlite(file: str) -> None:
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True)) as copy,
            closing(sqlite3.connect(connections.sqlite_file(db.engine), timeout=5)) as place,
        ):
            copy.backup(place)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise Busy("another process uses the database", hint="stop the web server") from error
        raise OpsError(f"the restore failed and nothing was changed: {error}") from error


# --- postgresql --------------------------------------------------------------


def _row_of_dump(file: str) -> Mapping[str, object]:
    """Return the head's row of a dump, from the statement that would copy it."""
    script = _run_pg_restore(file, "--data-only", f"--table={_TABLE}", "--file=-")
    copied = re.search(
        rf"^COPY \S*{_TABLE} \((.+?)\) FROM stdin;\n(.*?)^\\\.$", script, re.M | re.S
    )
    if copied is None:
        raise Invalid(f"{file} is no copy of this database: it has no audit")
    names = copied[1].split(", ")
    return _only(
        file,
        [dict(zip(names, line.split("\t"), strict=True)) for line in copied[2].splitlines()],
    )


def _run_pg_restore(file: str, *words: str, into: bool = False) -> str:
    """Run pg_restore over a dump, and return its output.

    :param into: put the dump into the database; else it is only read.
    :raises NotReady: it is not installed.
    :raises Invalid: the file cannot be read as a dump.
    :raises OpsError: the database did not take it; says why.
    """
    target, environ = backups.address()
    options = ["--no-password", *([f"--dbname={target}"] if into else []), *words]
    argv = ["pg_restore", *options, file]
    try:
        done = subprocess.run(  # noqa: S603  (the file is an argument; no shell reads it)
            argv, env=environ, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        hint = "install the PostgreSQL client programs"
        raise NotReady("pg_restore is not on the PATH", hint=hint) from error
    if done.returncode:
        reason = text.shortened((done.stderr.partition("error: ")[2] or done.stderr).strip(), 200)
        if not into:
            raise Invalid(f"{file} is no copy of this database: {reason}")
        raise OpsError(f"pg_restore failed and nothing was changed: {reason}")
    return done.stdout


def _only(file: str, rows: list[dict[str, object]]) -> Mapping[str, object]:
    if len(rows) != 1:
        raise Invalid(f"{file} has {len(rows)} heads of the audit and not one")
    return rows[0]
