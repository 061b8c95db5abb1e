"""The transcript of a session: every input, on the disk before it runs.

One file a session in the instance folder, one JSON object a line, readable by its
owner alone. Each line carries a keyed hash of itself and of the line before, so
that nobody without the audit key edits, swaps or removes lines unseen; what the
file was like at the end is in the audit. While its session lives the file is
locked, and once it is on record the file is made read-only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import IO, Any

from .. import clock, config
from ..errors import NotReady
from ..types import Record
from ..unit import chain

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def folder() -> Path:
    """Where this installation keeps its transcripts."""
    return config.instance_folder() / "transcripts"


def path_of(session: str) -> Path:
    """Where the transcript of a session is, if it is on this host."""
    return folder() / f"{session}.jsonl"


def link(key: bytes, previous: str, line: Record) -> str:
    """The keyed hash that ties a line to the one before it."""
    said = json.dumps(line, sort_keys=True, separators=(",", ":"))
    return chain.transcript_link(key, previous, said)


class Transcript:
    """The file of a session that lives.

    :raises NotReady: it cannot be made; nothing may be run then.
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
            made = os.fstat(self._file)
            self._identity, self._size = (made.st_dev, made.st_ino), 0
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write(self, kind: str, text: str, **more: Any) -> None:
        """Put a line on the disk: it is there when this returns.

        :param kind: ``input``, or what a witness saw.
        :raises NotReady: it cannot be written.
        """
        if self.is_forked:
            if kind == "input":
                raise NotReady("this is a forked process, whose inputs nobody would find")
            return  # The fork itself is on record; two hands would tear the chain.
        with self._turn:  # Threads that an input started are heard too.
            self._append(kind, {"text": text, **more})

    def _append(self, kind: str, said: Record) -> None:
        line = {"n": self._lines + 1, "at": clock.rfc3339(clock.now()), "kind": kind, **said}
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
        """Whether this is not the process that began the session."""
        return os.getpid() != self._process

    def _check_file(self) -> None:
        """Refuse to go on where somebody removed, exchanged, cut or added to the file."""
        now = os.fstat(self._file)
        same = (now.st_dev, now.st_ino) == self._identity and now.st_size == self._size
        if not same or now.st_nlink == 0:
            raise OSError(errno.ESTALE, "somebody changed or removed it")

    def digest(self) -> str:
        """SHA-256 of everything that was written."""
        return self._content.hexdigest()

    def discard(self) -> None:
        """Remove the file of a session that did not begin."""
        self.path.unlink()
        os.close(self._file)

    def seal(self) -> None:
        """Close the file, whose end is on record."""
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
class Found:
    """A transcript as it is on the disk."""

    lines: list[Record]
    digest: str
    broken_at: int | None
    """The first line that does not follow from the one before; None if all do."""

    @property
    def inputs(self) -> int:
        return sum(line.get("kind") == "input" for line in self.lines)


def read(path: Path, key: bytes) -> Found | None:
    """The transcript at ``path`` with its chain verified; None where there is none."""
    try:
        with _opened(path) as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except Irregular:
        return Found([_unreadable("it is no ordinary file")], "", 1)
    except OSError as error:
        raise NotReady(f"the transcript {path} cannot be read ({error.strerror})") from error
    lines: list[Record] = []
    broken_at, previous = None, ""
    for number, data in enumerate(content.splitlines(), start=1):
        line = _parsed(data)
        claimed = line.pop("mac", "")
        is_whole = line.get("n") == number and claimed == link(key, previous, line)
        if not is_whole and broken_at is None:
            broken_at = number
        previous = claimed
        lines.append(line)
    return Found(lines, hashlib.sha256(content).hexdigest(), broken_at)


def _parsed(data: bytes) -> Record:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    return found if _is_line(found) else _unreadable(data.decode(errors="replace"))


def _is_line(found: Any) -> bool:
    """Whether it has the form of what is written: an attacker may nest it deeper than Python."""
    if not isinstance(found, dict) or not str(found.get("mac", "")).isascii():
        return False
    values: list[Any] = []
    for value in found.values():
        values += value if isinstance(value, list) else [value]
    return all(value is None or isinstance(value, str | int | float) for value in values)


def _unreadable(text: str) -> Record:
    return {"kind": "unreadable", "text": text}


class Irregular(OSError):
    """A pipe, a folder or a device has the name of a file of ours."""


def _opened(path: Path, flags: int = os.O_RDONLY) -> IO[bytes]:
    """The file at ``path``; a pipe that nothing writes would let the open wait for ever.

    :raises Irregular: it is no ordinary file.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "ab" if flags & os.O_WRONLY else "rb")
    os.close(descriptor)
    raise Irregular(errno.EINVAL, "it is no ordinary file")


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the file, which nobody else does inside.

    What may not be opened is another user's, who looks after it themselves.
    """
    try:
        file = _opened(path)
    except Irregular:
        yield True
        return
    except OSError:
        yield False
        return
    with file:
        yield _is_free(file.fileno())


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def abandoned() -> Iterator[Path]:
    """The transcripts of sessions that were killed: not sealed, and nobody holds them.

    Each is held while the caller has it, and sealed when they go on to the next.
    """
    for path in sorted(folder().glob("*.jsonl")):
        if not _ID.fullmatch(path.stem):
            continue
        with _held(path) as is_free:
            # An empty one may be about to begin.
            if is_free and _is_unsealed(path.stat()):
                yield path
                path.chmod(0o400)


def _is_unsealed(found: os.stat_result) -> bool:
    is_file = stat.S_ISREG(found.st_mode)
    return is_file and found.st_size > 0 and found.st_mode & stat.S_IWUSR != 0


def is_alive(session: str) -> bool:
    """Whether the session runs on this host now."""
    path = path_of(session)
    if not path.exists():
        return False
    with _held(path) as is_free:
        return not is_free


# --- single statements -------------------------------------------------------


def keep_statement(id: str, statement: str) -> None:
    """Write down what ``flask query`` is about to run; the audit has its keyed hash.

    :raises NotReady: it cannot be written.
    """
    path = folder() / "queries.jsonl"
    line = {"id": id, "at": clock.rfc3339(clock.now()), "statement": statement}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            _write_all(file.fileno(), (json.dumps(line) + "\n").encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error


def kept_statement(id: str) -> str | None:
    """The statement that was run under this id on this host."""
    path = folder() / "queries.jsonl"
    try:
        with _opened(path) as file:
            for line in file:
                found = _parsed(line)
                if found.get("id") == id:
                    return str(found.get("statement"))
    except (FileNotFoundError, Irregular):
        return None
    except OSError as error:
        raise NotReady(f"{path} cannot be read ({error.strerror})") from error
    return None
