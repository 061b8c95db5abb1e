"""Backups: the whole database as a file, copied while it is in use."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .. import lasting
from ..errors import Conflict, NotReady, OpsError
from ..extensions import db
from ..unit import Unit

Record = dict[str, Any]


def create(file: str, *, overwrite: bool = False, unit: Unit) -> Record:
    """Copy the whole database into ``file``.

    SQLite's online backup, or ``pg_dump`` in its custom format. The copy appears
    under its name only when it is complete and on disk, readable by its owner.

    :raises Conflict: the file exists and ``overwrite`` is false.
    :raises OpsError: the copy failed; says why.
    """
    path = Path(file)
    if path.exists() and not overwrite:
        raise Conflict(f"{file} exists already", hint=f"flask db backup {file} --overwrite")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        _copy_sqlite(draft) if db.engine.dialect.name == "sqlite" else _dump_postgresql(draft)
        _sync(draft)
        with unit:
            size = draft.stat().st_size
            unit.record("database:backup:create", "database", after={"file": file, "bytes": size})
            if not unit.dry_run:
                draft.replace(path)
    except OSError as error:
        raise OpsError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return {"file": file, "bytes": size}


def _copy_sqlite(draft: Path) -> None:
    try:
        with (
            closing(db.engine.raw_connection()) as source,
            closing(sqlite3.connect(draft)) as copy,
        ):
            driver = source.driver_connection
            if driver is None:
                raise NotReady("the database connection is closed")
            # All at once: in WAL mode that keeps nobody waiting, and a copy in pieces
            # begins anew whenever somebody has written in between. The copy is in WAL mode
            # as well, so that it only has to be put in the place of the database.
            driver.backup(copy)
    except sqlite3.Error as error:
        raise OpsError(f"the backup failed: {error}") from error


def _dump_postgresql(draft: Path) -> None:
    with lasting.connect(db.engine) as session:  # pg_dump changes settings of its own.
        url = session.engine.url
    # The password goes through the environment: arguments are there for everybody to read.
    password = url.password or url.query.get("password")
    environ = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    target = sa.URL.create(
        "postgresql",
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={name: value for name, value in url.query.items() if name != "password"},
    ).render_as_string()
    command = ["pg_dump", "--format=custom", f"--file={draft}", f"--dbname={target}"]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise NotReady(
            "pg_dump is not on the PATH", hint="install the PostgreSQL client programs"
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"it ended with {done.returncode}"
        raise OpsError(f"pg_dump failed: {reason}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
