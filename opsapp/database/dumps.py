"""Dumps of PostgreSQL: read without a server, and put in the place of a database."""

from __future__ import annotations

import heapq
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

import sqlalchemy as sa

from .. import text
from ..errors import Busy, Invalid, NotReady, OpsError
from ..extensions import db
from ..types import Record
from . import backups

CHUNK = 1024 * 1024
_LAST_SETTING = b"SET row_security"
_COPY = re.compile(r"COPY (?:\S+\.)?(\w+) \((.+)\) FROM stdin;")
_ESCAPE = re.compile(r"\\(.)")
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def tables(file: str) -> set[str]:
    """Return the tables of a dump, after it was read to its end.

    :raises Invalid: it is no dump, or damaged.
    """
    with _run_pg_restore("--file=-", file) as script:
        for _chunk in iter(lambda: script.read(CHUNK), b""):
            pass
    with _run_pg_restore("--list", file) as entries:
        lines = [line.decode(errors="replace").split() for line in entries]
    # 215; 1259 16386 TABLE public ops_users owner
    return {words[5] for words in lines if len(words) > 5 and words[3] == "TABLE"}


def rows(file: str, table: str, ordered_by: str | None = None) -> Iterator[Record]:
    """Yield the rows of a table as text; None is NULL.

    :param ordered_by: a column that counts from 1 without gaps; rows out of place are sorted.
    """
    with _run_pg_restore("--data-only", f"--table={table}", "--file=-", file) as script:
        records = _parse_rows(script, table)
        yield from records if ordered_by is None else _in_order(records, ordered_by)


def _parse_rows(script: IO[bytes], table: str) -> Iterator[Record]:
    names: Sequence[str] | None = None
    for raw in script:
        line = raw.decode(errors="replace").rstrip("\n")
        if names is None:
            begin = _COPY.fullmatch(line)
            names = begin[2].split(", ") if begin and begin[1] == table else None
        elif line == "\\.":
            names = None
        else:
            yield dict(zip(names, map(_value, line.split("\t")), strict=True))


def _value(field: str) -> str | None:
    if field == "\\N":
        return None
    return _ESCAPE.sub(lambda escape: _MEANT.get(escape[1], escape[1]), field)


def _in_order(records: Iterator[Record], column: str) -> Iterator[Record]:
    """Put rows in order: the server has nearly appended them, and few wait for their turn."""
    waiting: list[tuple[int, int, Record]] = []
    expected = 1
    for place, row in enumerate(records):
        heapq.heappush(waiting, (int(row[column]), place, row))
        while waiting and waiting[0][0] <= expected:
            number, _place, first = heapq.heappop(waiting)
            expected = number + 1
            yield first
    while waiting:
        yield heapq.heappop(waiting)[2]


def replace(file: str, later: Sequence[str], *, patience: float) -> None:
    """Put a dump in the place of the database, in one transaction.

    :param later: tables that are not in the dump, and are dropped.
    :param patience: seconds to wait for other processes that use a table.
    :raises Busy: another process uses the database.
    :raises OpsError: it failed, and nothing was changed.
    """
    target, environ = backups.address(db.engine)
    words = ["psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
    before = "".join(f"{statement};\n" for statement in _first(later, patience))
    dump = _run_pg_restore("--clean", "--if-exists", "--no-owner", "--file=-", file)
    with _Program([*words, f"--dbname={target}"], environ, stdin=subprocess.PIPE) as psql:
        with suppress(BrokenPipeError), psql.stdin as script:  # If it fails, it says why.
            script.write(before.encode())
            with dump as statements:
                script.writelines(_settings(statements))
                for chunk in iter(lambda: statements.read(CHUNK), b""):
                    script.write(chunk)
            # The last word: without it, whatever ends this process undoes all.
            script.write(b"COMMIT;\n")
        psql.stdout.read()
        if psql.code:
            raise _failure(psql.remarks)


def _first(later: Sequence[str], patience: float) -> Iterator[str]:
    """Yield the statements before the dump, which itself waits for locks without an end."""
    present = sa.inspect(db.engine).get_table_names()
    quoted = db.engine.dialect.identifier_preparer.quote
    yield "BEGIN"
    yield f"SET lock_timeout = '{patience:g}s'"
    if present:
        yield f"LOCK TABLE {', '.join(map(quoted, sorted(present)))} IN ACCESS EXCLUSIVE MODE"
    if later:
        yield f"DROP TABLE {', '.join(map(quoted, later))} CASCADE"


def _settings(script: IO[bytes]) -> Iterator[bytes]:
    """Yield the head of a dump, without the setting that an older server does not know.

    Newer client programs put it into each script, whatever the server.
    """
    is_old = (db.engine.dialect.server_version_info or ()) < (17,)
    for line in script:
        if not (is_old and line.startswith(b"SET transaction_timeout")):
            yield line
        if line.startswith(_LAST_SETTING):
            return


def _failure(remarks: str) -> OpsError:
    reason = text.truncate((remarks.partition("ERROR:  ")[2] or remarks).strip(), 200)
    if "lock timeout" in reason:
        return Busy(
            "another process uses the database; nothing was changed",
            hint="stop the web server and cron, and try again",
        )
    return OpsError(f"the restore failed and nothing was changed: {reason}")


@contextmanager
def _run_pg_restore(*words: str) -> Iterator[IO[bytes]]:
    """Read what pg_restore prints, which needs no server.

    :raises NotReady: it is not installed, or older than the dump.
    :raises Invalid: it failed; says why.
    """
    with _Program(["pg_restore", *words], os.environ, stdin=subprocess.DEVNULL) as program:
        yield program.stdout
        if program.stdout.read(1) == b"" and program.code:
            raise _unreadable_error(words[-1], program.remarks.partition("error: ")[2].strip())


def _unreadable_error(file: str, reason: str) -> OpsError:
    if reason.startswith("unsupported version"):
        return NotReady(
            f"{file} was made by a newer pg_dump than the pg_restore of this host can read",
            hint="install the client programs of the server's version, first on the PATH",
        )
    return Invalid(f"{file} is not a backup of this database: {text.truncate(reason, 200)}")


class _Program:
    """A program of PostgreSQL. Its remarks go to a file: a full pipe would stop it."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], *, stdin: int) -> None:
        self._remarks = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the program)
        try:
            self._process = subprocess.Popen(  # noqa: S603  (no shell reads the words)
                words,
                env={**environ, "LC_ALL": "C"},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=self._remarks,
            )
        except FileNotFoundError as error:
            self._remarks.close()
            hint = "install the PostgreSQL client programs"
            raise NotReady(f"{words[0]} is not on the PATH", hint=hint) from error

    def __enter__(self) -> _Program:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()  # It has ended, or is not needed any more.
        with self._process:
            self._remarks.close()

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to it."""
        assert self._process.stdin is not None  # noqa: S101  (the caller has asked for one)
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe from it."""
        assert self._process.stdout is not None  # noqa: S101  (there always is one)
        return self._process.stdout

    @property
    def code(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()

    @property
    def remarks(self) -> str:
        """All that it wrote to stderr."""
        self._remarks.seek(0)
        return self._remarks.read().decode(errors="replace")
