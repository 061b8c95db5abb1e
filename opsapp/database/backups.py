"""Backups: the whole database as a file, copied while it is in use."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from urllib.parse import quote

from .. import text
from ..engine import direct
from ..engine.connections import keywords, options
from ..errors import NotReady, OpsError, Refused
from ..extensions import db
from ..files.drafts import Draft, explained
from ..types import Record
from ..unit.ledger import is_kept
from ..unit.work import Unit

STDOUT = "-"
CHUNK = 1024 * 1024


def create(file: str, *, overwrite: bool = False, unit: Unit) -> Record:
    """Copy the whole database into ``file``.

    SQLite's online backup, or ``pg_dump`` in its custom format. The copy is checked, and
    takes its place when its event is committed: on disk, readable by its owner.

    :raises Conflict: the file exists and ``overwrite`` is false.
    :raises Refused: the file is one of this installation.
    :raises NotReady: the database is away or damaged.
    :raises OpsError: the copy failed; says why.
    """
    draft = Draft(file, overwrite=overwrite)
    size = _filled(draft, file)
    try:
        if not is_kept():
            draft.settle(placed=not unit.dry_run)
            return {"file": file, "bytes": size, "changed": True}
        with unit:
            unit.record("database:backup:create", "database", after={"file": file, "bytes": size})
            unit.settle(lambda committed: draft.settle(placed=committed))
    except BaseException as error:
        draft.discard()
        if unit.committed and isinstance(error, OSError):
            _take_back(file, unit)
            raise OpsError(f"{file} cannot be written: {error.strerror}") from error
        raise
    return {"file": file, "bytes": size}


def stream(*, unit: Unit) -> Generator[bytes, None, None]:
    """Copy the whole database, and read the copy out once its event is committed.

    :raises NotReady: the database is away or damaged.
    :raises OpsError: the copy failed; says why.
    """
    draft = Draft(str(Path(tempfile.gettempdir(), f"opsapp-{secrets.token_hex(8)}")))
    try:
        size = _filled(draft, STDOUT)
        is_audited = is_kept()
        with unit if is_audited else nullcontext():
            after = {"file": STDOUT, "bytes": size}
            unit.record("database:backup:create", "database", after=after)
        if unit.committed or not is_audited:
            yield from draft.chunks(CHUNK)
    finally:
        draft.discard()


def _filled(draft: Draft, file: str) -> int:
    """Put a copy of the database into the draft, checked and on the disk; its bytes.

    :raises Refused: it is neither SQLite nor PostgreSQL.
    """
    kind = db.engine.dialect.name
    if kind not in ("sqlite", "postgresql"):
        draft.discard()
        raise Refused(f"opsapp cannot copy a {kind} database", hint="use its own program")
    try:
        with explained(file):
            _copy_sqlite(draft) if kind == "sqlite" else _dump(draft)
            return draft.write_to_disk()
    except BaseException:
        draft.discard()
        raise


def _take_back(file: str, unit: Unit) -> None:
    """Have the audit say that a copy, whose event is committed, did not get its place."""
    with Unit(actor=unit.actor, door=unit.door, correlation=unit.correlation) as after:
        after.record("database:backup:fail", "database", before={"file": file})
    # Its event no longer stands, so the error must not name it.
    unit.committed, unit.seq = False, None


# --- sqlite ------------------------------------------------------------------


def _copy_sqlite(draft: Draft) -> None:
    try:
        with (
            closing(db.engine.raw_connection()) as source,
            closing(sqlite3.connect(draft.path)) as copy,
        ):
            driver = source.driver_connection
            if driver is None:
                raise NotReady("the database connection is closed")
            # All at once: in WAL mode that keeps no writer waiting, and a copy in pieces
            # begins anew after each write in between. The copy is in WAL mode
            # as well, so that it only has to be put in the place of the database.
            driver.backup(copy)
        _check_sqlite(draft.path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise _damaged(error) from error
        raise OpsError(f"the backup failed: {text.safe(error)}") from error


def _check_sqlite(path: Path) -> None:
    """Check a copy of SQLite.

    :raises NotReady: the copy is damaged, and so is the database.
    """
    # Without "immutable" it would make files beside the copy, since that is in WAL mode.
    address = f"file:{quote(str(path))}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as copy:
        [remark] = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if remark != "ok":
        raise _damaged(remark.splitlines()[-1])


def _damaged(remark: object) -> NotReady:
    return NotReady(f"the database file is damaged: {text.safe(remark)}", hint="restore a backup")


# --- postgresql --------------------------------------------------------------


def _dump(draft: Draft) -> None:
    """Write a dump of PostgreSQL.

    :raises NotReady: the server is away, or the programs are.
    :raises OpsError: the copy failed, or cannot be read.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        raise NotReady("this process ignores SIGCHLD, so it would not know how pg_dump ends")
    target, environ = address()
    words = ["pg_dump", "--format=custom", "--no-password", f"--file={draft.path}"]
    _run([*words, f"--dbname={target}"], environ, draft)
    contents = _run(["pg_restore", "--list", str(draft.path)], environ, draft)
    if b"Archive created at" not in contents:
        raise OpsError("the copy cannot be read: pg_restore finds no archive in it")


def address() -> tuple[str, Mapping[str, str]]:
    """Return the address of the database, as libpq reads it, and variables that hold the password.

    :raises NotReady: another secret is in the URL, for which there is no variable.
    """
    from psycopg.conninfo import make_conninfo

    with direct.connect(db.engine) as session:  # pg_dump changes settings of its own.
        url = session.engine.url
    ours = options(url)["connect_args"]
    words = {**ours, **keywords(url)}
    # The settings of our sessions are not for a dump; those of the URL are.
    words["options"] = keywords(url).get("options")
    # Arguments are there for every user of the host to read.
    if "sslpassword" in words:
        raise NotReady(
            "pg_dump would show the URL's sslpassword to every user of this host",
            hint="write it into ~/.pg_service.conf, and service=NAME into the URL",
        )
    password = words.pop("password", None) or os.environ.get("PGPASSWORD")
    environ = {**os.environ, "LC_ALL": "C", **({"PGPASSWORD": password} if password else {})}
    return make_conninfo(**words), environ


def _run(words: Sequence[str], environ: Mapping[str, str], draft: Draft) -> bytes:
    """Return the output of the program.

    :raises NotReady: there is no such program, or it does not reach the server.
    :raises OpsError: it failed; says why.
    """
    try:
        program = subprocess.Popen(
            words,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise NotReady(
            f"{words[0]} is not on the PATH", hint="install the PostgreSQL client programs"
        ) from error
    with program, draft.written_by(program):
        printed, remarks = program.communicate()
    if program.returncode:
        raise _failed(words[0], remarks.decode(errors="replace"), program.returncode)
    return printed


def _failed(program: str, remarks: str, code: int) -> OpsError:
    """Return the error of the program: its first message with the details."""
    errors = remarks.partition(f"{program}: error: ")[2].splitlines()
    errors = errors or remarks.splitlines()[-1:] or [f"it ended with {code}"]
    details = [line.partition("detail: ")[2] for line in errors[1:] if "detail: " in line]
    reason = text.safe("; ".join([errors[0], *details]))
    if reason.startswith("connection to server"):
        return NotReady(f"the database cannot be reached: {reason}", hint="flask doctor")
    return OpsError(f"{program} failed: {reason}")
