"""Backups: the whole database as a file, copied while it is in use."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from .. import text
from ..engine import direct
from ..engine.connections import keywords, options
from ..errors import Invalid, NotReady, OpsError, Refused
from ..extensions import db
from ..files.drafts import Draft, translate_os_errors
from ..types import Record
from ..unit.ledger import is_kept
from ..unit.work import Unit

STDOUT = "-"
OWN = ".ops"
"""The end of the name of our own database's copy, where there are two."""
CHUNK = 1024 * 1024


def create(file: str, *, overwrite: bool = False, unit: Unit) -> Record:
    """Copy the whole database into ``file``.

    SQLite's online backup, or ``pg_dump`` in its custom format. The copy is checked, and
    takes its place when its event is committed: on disk, readable by its owner. If our
    tables have a database of their own, its copy is ``own_file``, beside the other.

    :raises Conflict: the file exists and ``overwrite`` is false.
    :raises Refused: the file is one of this installation.
    :raises NotReady: a database is away or damaged.
    :raises OpsError: the copy failed; says why.
    """
    with ExitStack() as stack:
        drafts, sizes = [], {}
        for name, engine in _engines(file).items():
            draft = Draft(name, overwrite=overwrite)
            stack.callback(draft.discard)
            drafts.append(draft)
            sizes[name] = _fill(draft, name, engine)
        record = _record(file, sizes)

        def settle(placed: bool) -> None:
            for draft in drafts:
                draft.settle(placed=placed)

        if not is_kept():
            settle(not unit.dry_run)
            return {**record, "changed": True}
        try:
            with unit:
                unit.record("database:backup:create", "database", after=record)
                unit.settle(settle)
        except OSError as error:
            if not unit.committed:
                raise
            _take_back(file, unit)
            raise OpsError(f"{file} cannot be written: {error.strerror}") from error
        stack.pop_all()  # A unit around this one settles the drafts.
        return record


def stream(*, unit: Unit) -> Generator[bytes, None, None]:
    """Copy the whole database, and read the copy out once its event is committed.

    :raises Invalid: there are two databases.
    :raises NotReady: the database is away or damaged.
    :raises OpsError: the copy failed; says why.
    """
    if len(_engines(STDOUT)) > 1:
        raise Invalid("two databases cannot be written to one stream", hint="flask db backup FILE")
    draft = Draft(str(Path(tempfile.gettempdir(), f"opsapp-{secrets.token_hex(8)}")))
    try:
        after = _record(STDOUT, {STDOUT: _fill(draft, STDOUT, db.engine)})
        is_audited = is_kept()
        with unit if is_audited else nullcontext():
            unit.record("database:backup:create", "database", after=after)
        if unit.committed or not is_audited:
            yield from draft.chunks(CHUNK)
    finally:
        draft.discard()


def _engines(file: str) -> dict[str, sa.Engine]:
    """Return the databases by the files of their copies, in the order of copying.

    Ours is first: an intent without an end, in its copy, is settled by the copy of the accounts.
    """
    if db.our_engine is db.engine or not is_kept():
        return {file: db.engine}
    return {f"{file}{OWN}": db.our_engine, file: db.engine}


def _record(file: str, sizes: Mapping[str, int]) -> Record:
    record: Record = {"file": file, "bytes": sizes[file]}
    own = f"{file}{OWN}"
    return {**record, "own_file": own, "own_bytes": sizes[own]} if own in sizes else record


def _fill(draft: Draft, file: str, engine: sa.Engine) -> int:
    """Put a copy of the database into the draft, checked and on the disk; its bytes.

    :raises Refused: it is neither SQLite nor PostgreSQL.
    """
    kind = engine.dialect.name
    if kind not in ("sqlite", "postgresql"):
        hint = "copy it by its own program, and opsapp's own database too"
        raise Refused(f"opsapp cannot copy a {kind} database", hint=hint)
    with translate_os_errors(file):
        _copy_sqlite(draft, engine) if kind == "sqlite" else _dump(draft, engine)
        return draft.write_to_disk()


def _take_back(file: str, unit: Unit) -> None:
    """Have the audit say that a copy, whose event is committed, did not get its place."""
    with Unit(actor=unit.actor, door=unit.door, correlation=unit.correlation) as after:
        after.record("database:backup:fail", "database", before={"file": file})
    # Its event no longer stands, so the error must not name it.
    unit.committed, unit.seq = False, None


# --- sqlite ------------------------------------------------------------------


def _copy_sqlite(draft: Draft, engine: sa.Engine) -> None:
    try:
        with (
            closing(engine.raw_connection()) as source,
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
            raise _damage_error(error) from error
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
        raise _damage_error(remark.splitlines()[-1])


def _damage_error(remark: object) -> NotReady:
    return NotReady(f"the database file is damaged: {text.safe(remark)}", hint="restore a backup")


# --- postgresql --------------------------------------------------------------


def _dump(draft: Draft, engine: sa.Engine) -> None:
    """Write a dump of PostgreSQL.

    :raises NotReady: the server is away, or the programs are.
    :raises OpsError: the copy failed, or cannot be read.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        raise NotReady("this process ignores SIGCHLD, so it would not know how pg_dump ends")
    target, environ = address(engine)
    words = ["pg_dump", "--format=custom", "--no-password", f"--file={draft.path}"]
    _run([*words, f"--dbname={target}"], environ, draft)
    contents = _run(["pg_restore", "--list", str(draft.path)], environ, draft)
    if b"Archive created at" not in contents:
        raise OpsError("the copy cannot be read: pg_restore finds no archive in it")


def address(engine: sa.Engine) -> tuple[str, Mapping[str, str]]:
    """Return the address of a database, as libpq reads it, and variables that hold the password.

    :raises NotReady: another secret is in the URL, for which there is no variable.
    """
    from psycopg.conninfo import make_conninfo

    with direct.connect(engine) as session:  # pg_dump changes settings of its own.
        url = session.engine.url
    defaults = options(url)["connect_args"]
    words = {**defaults, **keywords(url)}
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


# The program begins once the draft's guardian knows it: nothing would end it if this process
# were killed before.
_ONCE_TOLD = 'read -r go && exec "$@" </dev/null'


def _run(words: Sequence[str], environ: Mapping[str, str], draft: Draft) -> bytes:
    """Return the output of the program.

    :raises NotReady: there is no such program, or it does not reach the server.
    :raises OpsError: it failed; says why.
    """
    if shutil.which(words[0], path=environ.get("PATH")) is None:
        raise NotReady(
            f"{words[0]} is not on the PATH", hint="install the PostgreSQL client programs"
        )
    program = subprocess.Popen(
        ["/bin/sh", "-c", _ONCE_TOLD, "sh", *words],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with program, draft.supervise(program):
        printed, remarks = program.communicate(b"go\n")
    if program.returncode:
        raise _failure(words[0], remarks.decode(errors="replace"), program.returncode)
    return printed


def _failure(program: str, remarks: str, code: int) -> OpsError:
    """Return the error of the program: its first message with the details."""
    errors = remarks.partition(f"{program}: error: ")[2].splitlines()
    errors = errors or remarks.splitlines()[-1:] or [f"it ended with {code}"]
    details = [line.partition("detail: ")[2] for line in errors[1:] if "detail: " in line]
    reason = text.safe("; ".join([errors[0], *details]))
    if reason.startswith("connection to server"):
        return NotReady(f"the database cannot be reached: {reason}", hint="flask doctor")
    return OpsError(f"{program} failed: {reason}")
