"""Profile files: private ``.prof`` files within a quota.

Reading one runs ``marshal`` over it, which trusts its input. So only regular files of the
user are read, up to a size, in a child process with limited memory and time.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import secrets
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import clock, text
from ...errors import Invalid, NotFound, OpsError, Refused, TimedOut
from ...settings import config
from ...state import instance_of
from ...textfiles import create_private
from ...types import Record
from ..paths import relative_path
from .callers import is_recorder

if TYPE_CHECKING:
    from flask import Flask

MOST_FILES = 200
MOST_BYTES = 100 * 1024 * 1024
"""Of all files together; the oldest files are removed first."""
LARGEST = 32 * 1024 * 1024
"""The largest size of a file to read, in bytes."""
READ_SECONDS = 20
READ_MEMORY = 1024 * 1024 * 1024
MOST_SHOWN = 10**12
"""Calls, or milliseconds, beyond those of each real profile."""
SORTS = {"self": 2, "total": 3, "calls": 1}
"""The sort orders, and the index of each in a function's entry in ``pstats``."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder with the profiles of an installation."""

    path: Path

    def write(self, content: bytes) -> str:
        """Write a profile, and return the name of its file. The oldest files make room.

        :raises OSError: the disk is full, or the folder cannot be written.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        self.make_room(len(content))
        name = f"{clock.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.prof"
        create_private(self.path / name, content)
        return name

    def make_room(self, size_of_new: int = 0, *, dry_run: bool = False) -> int:
        """Remove the oldest files until there is room for more bytes, and return their number."""
        files = sorted(self._files(), key=lambda item: item[0])
        count, size = len(files), sum(status.st_size for _name, status in files)
        removed = 0
        for name, status in files:
            if count + (size_of_new > 0) <= MOST_FILES and size + size_of_new <= MOST_BYTES:
                break
            if not dry_run:
                (self.path / name).unlink(missing_ok=True)
            count, size, removed = count - 1, size - status.st_size, removed + 1
        return removed

    def _files(self) -> list[tuple[str, os.stat_result]]:
        if not self.path.is_dir():
            return []
        with os.scandir(self.path) as entries:
            return [
                (entry.name, entry.stat(follow_symlinks=False))
                for entry in entries
                if entry.name.endswith(".prof") and entry.is_file(follow_symlinks=False)
            ]

    def listing(self) -> list[Record]:
        """Return the files, the newest first."""
        rows = [{"file": name, "bytes": status.st_size} for name, status in self._files()]
        return sorted(rows, key=lambda row: str(row["file"]), reverse=True)

    def find(self, name: str) -> Path:
        """Return the path of a file, given its name in the folder, or its path."""
        return self.path / name if os.sep not in name else Path(name)


def folder_of(app: Flask) -> Folder:
    """Return the folder of an application, in its instance folder."""
    return Folder(instance_of(app) / "profiles")


def top(stats: Mapping[Any, Any], count: int, sort: str = "self") -> list[Record]:
    """Return the most expensive functions of a profile as rows; times are in milliseconds."""
    items = [item for item in stats.items() if not is_recorder(item[0][0])]
    ranked = sorted(items, key=lambda item: -item[1][SORTS[sort]])[:count]
    return [
        {
            "calls": calls,
            "self_ms": round(self_seconds * 1000, 3),
            "total_ms": round(total_seconds * 1000, 3),
            "function": _function_name(*key),
        }
        for key, (_primitive, calls, self_seconds, total_seconds, *_callers) in ranked
    ]


def _function_name(file: str, line: int, function: str) -> str:
    if file == "~" or not line:
        return text.safe(function)[:200]
    return text.safe(f"{relative_path(file)}:{line} in {function}")[:300]


# --- reading -----------------------------------------------------------------


def read(path: Path, *, count: int, sort: str) -> list[Record]:
    """Return the most expensive functions of a ``.prof`` file.

    :raises NotFound: there is no such file.
    :raises Refused: it is too large, or not a regular file of the user.
    :raises Invalid: it is no profile.
    """
    descriptor = _open_file(path)
    try:
        # A hostile file may take all memory, or crash its reader.
        process = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD, str(config.ROOT), __name__, str(count), sort],
            stdin=descriptor,
            capture_output=True,
            timeout=READ_SECONDS,
            preexec_fn=_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{path.name} could not be read in {READ_SECONDS} s") from None
    finally:
        os.close(descriptor)
    if process.returncode:
        raise Invalid(f"{text.truncate(path.name)} is not a profile that can be read")
    return [_check_row(row) for row in json.loads(process.stdout)]


_CHILD = """
import json, sys
root, module, count, sort = sys.argv[1:]
sys.path.insert(0, root)
import importlib, marshal
stats = marshal.load(sys.stdin.buffer)
json.dump(importlib.import_module(module).top(stats, int(count), sort), sys.stdout)
"""


def _check_row(row: Record) -> Record:
    """Return the row of the child without what a hostile file may have put there."""
    numbers = {name: row[name] for name in ("calls", "self_ms", "total_ms")}
    # NaN is not less than a number.
    if not all(isinstance(n, int | float) and abs(n) < MOST_SHOWN for n in numbers.values()):
        raise Invalid("that is not a profile that can be read")
    return {**numbers, "function": text.safe(row["function"])}


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (READ_MEMORY, READ_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (READ_SECONDS, READ_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _open_file(path: Path) -> int:
    """Open the file and check it; no other process can replace it between the two."""
    name = text.truncate(str(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"there is no file {name}", hint="flask profile files") from None
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise Refused(f"{name} cannot be opened: {why}") from error
    try:
        _refuse_other(os.fstat(descriptor), name)
    except OpsError:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_other(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{name} is not a regular file")
    if status.st_uid != os.geteuid():
        raise Refused(f"{name} belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise Refused(f"{name} can be written by others")
    if status.st_size > LARGEST:
        raise Refused(f"{name} is larger than {LARGEST // 1024**2} MiB")
