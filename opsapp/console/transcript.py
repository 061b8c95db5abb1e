"""The transcript of a session: every input, on the disk before it runs.

One file a session in the instance folder, one JSON object a line, readable by its
owner alone. Each line carries a keyed hash of itself and of the line before. The
digest of the whole file is in the session's closing event. Until that event
exists, after a kill, the chain alone shows edits by an attacker without the audit
key; that is all it protects
(docs/decisions/console.md#the-lines-of-a-transcript-are-chained). The file is
locked while its session lives, and read-only afterwards.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import IO, Any
from uuid import UUID

from .. import clock
from ..engine.flock import try_lock
from ..errors import NotReady
from ..settings import config
from ..types import Record
from ..unit import chain


def folder() -> Path:
    """Return the folder of the transcripts of this installation."""
    return config.instance_folder() / "transcripts"


def path_of(session: str) -> Path:
    """Return the path of a session's transcript on its host."""
    return folder() / f"{session}.jsonl"


def link(key: bytes, previous: str, line: Record) -> str:
    """Return the keyed hash that ties a line to the one before it."""
    document = json.dumps(line, sort_keys=True, separators=(",", ":"))
    return chain.transcript_link(key, previous, document)


class Transcript:
    """The file of a live session.

    :raises NotReady: it cannot be created, so no input may run.
    """

    def __init__(self, session: str, key: bytes) -> None:
        self.path = path_of(session)
        self.inputs = 0
        self._key = key
        self._lines = 0
        self._last = ""
        self._content = hashlib.sha256()
        self._process = os.getpid()
        self._turn = RLock()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600
            )
            fcntl.flock(self._file, fcntl.LOCK_EX)
            _sync_folder(self.path.parent)
            status = os.fstat(self._file)
            self._identity, self._size = (status.st_dev, status.st_ino), 0
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write(self, kind: str, text: str, **more: Any) -> None:
        """Write a line to the disk; it is there on return.

        :param kind: ``input``, or the kind of an event of the audit hook.
        :raises NotReady: it cannot be written.
        """
        if self.is_forked:
            if kind == "input":
                raise NotReady("this is a forked process, whose inputs are not recorded")
            return  # The fork itself is on record; two processes would break the chain.
        with self._turn:  # Threads of an input write too.
            self._append(kind, {"text": text, **more})

    def _append(self, kind: str, fields: Record) -> None:
        line = {"n": self._lines + 1, "at": clock.rfc3339(clock.now()), "kind": kind, **fields}
        line["mac"] = mac = link(self._key, self._last, line)
        data = (json.dumps(line) + "\n").encode()
        try:
            self._check_file()
            _write_all(self._file, data)
            os.fsync(self._file)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._last = mac
        self._lines += 1
        self.inputs += kind == "input"
        self._content.update(data)
        self._size += len(data)

    @property
    def is_forked(self) -> bool:
        """True in another process than the one that began the session."""
        return os.getpid() != self._process

    def _check_file(self) -> None:
        """Refuse to continue if another process removed, replaced, cut or extended the file."""
        now = os.fstat(self._file)
        same = (now.st_dev, now.st_ino) == self._identity and now.st_size == self._size
        if not same or now.st_nlink == 0:
            raise OSError(errno.ESTALE, "another process changed or removed it")

    def digest(self) -> str:
        """Return the SHA-256 of the whole file."""
        return self._content.hexdigest()

    def discard(self) -> None:
        """Remove the file of a session that did not begin."""
        self.path.unlink()
        os.close(self._file)

    def seal(self) -> None:
        """Close the file read-only, after its closing event."""
        os.fchmod(self._file, 0o400)
        os.close(self._file)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(path: Path) -> None:
    # A file whose name is not on the disk is gone after a power cut.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> NotReady:
    return NotReady(
        f"the transcript {path} cannot be written ({error.strerror}), so nothing is run",
        hint="flask doctor",
    )


# --- reading -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a transcript on the disk."""

    lines: list[Record]
    digest: str
    broken_at: int | None
    """The number of the first line that does not follow from the one before; None if all do."""

    @property
    def inputs(self) -> int:
        return sum(line.get("kind") == "input" for line in self.lines)


def read(path: Path, key: bytes) -> Contents | None:
    """Return the transcript at ``path`` with its chain verified; None if there is none."""
    try:
        with _open_file(path) as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except Irregular:
        return Contents([_unreadable_line("it is not a regular file")], "", 1)
    except OSError as error:
        raise NotReady(f"the transcript {path} cannot be read ({error.strerror})") from error
    lines: list[Record] = []
    broken_at, previous = None, ""
    for number, data in enumerate(content.splitlines(), start=1):
        line = _parse_line(data)
        claimed = line.pop("mac", "")
        is_whole = line.get("n") == number and claimed == link(key, previous, line)
        if not is_whole and broken_at is None:
            broken_at = number
        previous = claimed
        lines.append(line)
    return Contents(lines, hashlib.sha256(content).hexdigest(), broken_at)


def _parse_line(data: bytes) -> Record:
    try:
        line = json.loads(data)
    except (ValueError, RecursionError):
        line = None
    return line if _is_line(line) else _unreadable_line(data.decode(errors="replace"))


def _is_line(document: Any) -> bool:
    """Return whether JSON has the form of a line; an attacker may nest it deeper than Python."""
    if not isinstance(document, dict) or not str(document.get("mac", "")).isascii():
        return False
    values: list[Any] = []
    for value in document.values():
        values += value if isinstance(value, list) else [value]
    return all(value is None or isinstance(value, str | int | float) for value in values)


def _unreadable_line(text: str) -> Record:
    return {"kind": "unreadable", "text": text}


class Irregular(OSError):
    """A pipe, a folder or a device in the place of a file."""


def _open_file(path: Path, flags: int = os.O_RDONLY) -> IO[bytes]:
    """Open the file at ``path``, without waiting for the writer of a pipe.

    :raises Irregular: it is not a regular file.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "ab" if flags & os.O_WRONLY else "rb")
    os.close(descriptor)
    raise Irregular(errno.EINVAL, "it is not a regular file")


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Lock the file if no other process does; yields whether it is locked now.

    A file that may not be opened is another user's, and stays theirs.
    """
    try:
        file = _open_file(path)
    except Irregular:
        yield True
        return
    except OSError:
        yield False
        return
    with file:
        yield try_lock(file.fileno())


def list_abandoned_files() -> Iterator[Path]:
    """Yield the transcripts of killed sessions: not sealed, and not locked.

    Each is locked while the caller has it, and sealed afterwards.
    """
    for path in sorted(folder().glob("*.jsonl")):
        if not _is_id(path.stem):
            continue
        with _lock(path) as is_free:
            # An empty one may be about to begin.
            if is_free and _is_unsealed(path.stat()):
                yield path
                path.chmod(0o400)


def _is_id(name: str) -> bool:
    with suppress(ValueError):
        return str(UUID(name)) == name
    return False


def _is_unsealed(status: os.stat_result) -> bool:
    is_file = stat.S_ISREG(status.st_mode)
    return is_file and status.st_size > 0 and status.st_mode & stat.S_IWUSR != 0


def is_alive(session: str) -> bool:
    """Return whether the session runs on this host now."""
    path = path_of(session)
    if not path.exists():
        return False
    with _lock(path) as is_free:
        return not is_free


# --- single statements -------------------------------------------------------


def keep_statement(id: str, statement: str) -> None:
    """Record a statement before ``flask query`` runs it; the audit has its keyed hash.

    :raises NotReady: it cannot be written.
    """
    path = folder() / "queries.jsonl"
    line = {"id": id, "at": clock.rfc3339(clock.now()), "statement": statement}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            _write_all(file.fileno(), (json.dumps(line) + "\n").encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error


def find_statement(id: str) -> str | None:
    """Return the statement of this id, if it ran on this host."""
    path = folder() / "queries.jsonl"
    try:
        with _open_file(path) as file:
            for line in file:
                record = _parse_line(line)
                if record.get("id") == id:
                    return str(record.get("statement"))
    except (FileNotFoundError, Irregular):
        return None
    except OSError as error:
        raise NotReady(f"{path} cannot be read ({error.strerror})") from error
    return None
