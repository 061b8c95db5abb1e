"""Targets: the files that a user may name for opsapp to write, and those that are refused.

Each command that takes such a name asks here, so one place decides. A file of
the installation is never the target: not the database with what SQLite keeps beside it, no
lock, no secret, nothing of the program's own folder, and nothing of the instance folder but
new files and those of ``backups/``.
Links, hard links and other spellings of a path lead to the same answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..engine.connections import sqlite_file
from ..errors import Refused
from ..extensions import db, this_app
from ..settings import IN_FILES, config
from ..state import instance_of

COPIES = "backups"
"""The folder of the instance that is for copies."""
_OURS = frozenset(
    {
        *("audit.checkpoints", "errors.log", "jobs.toml"),
        *("mail", "metrics", "profiles", "sandboxes", "secrets", "shell", "transcripts", COPIES),
    }
)
"""The names that an installation gives, or looks for, in its instance folder."""


def target(file: str) -> Path:
    """Return the place that ``file`` leads to, its links followed.

    :raises Refused: it is no regular file, or belongs to this installation.
    """
    if file == "-":  # Another command would read stdin for it.
        raise Refused("- is no file", hint="./- is a file of this name")
    if Path(file).exists() and not Path(file).is_file():
        raise Refused(f"{file} is not a file")
    path = Path(os.path.realpath(file))
    instance = instance_of(this_app())
    elsewhere = any(_is_same(path, own) for own in _reserved_files(path.name))
    if elsewhere or _is_of_program(path) or _is_kept(path, instance):
        raise Refused(
            f"{file} belongs to this installation",
            hint=f"name a file in {instance / COPIES}, or one outside of {instance}",
        )
    return path


# --- the instance folder -----------------------------------------------------


def _is_kept(path: Path, instance: Path) -> bool:
    """Return whether it is one of the instance's own files, or would be taken for one."""
    folder = next((parent for parent in path.parents if _is_one(parent, instance)), None)
    if folder is None:
        return _is_linked_from(instance, path)
    name, *below = path.relative_to(folder).parts
    if below:
        return name != COPIES
    return path.exists() or name in _OURS or name.startswith(".") or name.endswith(".lock")


def _is_linked_from(instance: Path, path: Path) -> bool:
    """Return whether a link of the instance leads to the file, or to a folder above it."""
    folders = [instance / name for name in _OURS - {COPIES}]
    if any(_is_one(place, folder) for place in (path, *path.parents) for folder in folders):
        return True
    if not path.exists() or path.stat().st_nlink == 1:
        return False
    own = (file for file in instance.rglob("*") if COPIES not in file.relative_to(instance).parts)
    return any(_is_one(path, file) for file in own)


# --- the program -------------------------------------------------------------


def _is_of_program(path: Path) -> bool:
    """Return whether the file is in a folder of the program, or a hard link to a file there."""
    folders = (config.PACKAGE, config.PACKAGE / "commands", config.migrations_folder())
    if any(_is_one(parent, folder) for parent in path.parents for folder in folders):
        return True
    if not path.exists() or path.stat().st_nlink == 1:
        return False
    return any(_is_one(path, file) for folder in folders for file in folder.rglob("*"))


# --- files that are elsewhere ------------------------------------------------


def _reserved_files(name: str) -> Iterator[Path]:
    """Yield the databases with their locks of this ``name``, and the files that settings name."""
    for engine in db.engines.values():
        if engine.dialect.name == "sqlite":
            database = Path(sqlite_file(engine))
            for spelling in (database, Path(os.path.realpath(database))):
                yield from _with_company(spelling, name)
    names = (*IN_FILES, "OPSAPP_JOBS")
    places = (this_app().config, os.environ)
    yield from (Path(file) for name in names for place in places if (file := place.get(name)))


def _with_company(database: Path, name: str) -> Iterator[Path]:
    """Yield a SQLite file, the files beside it, and the lock of this name."""
    yield from (database.with_name(database.name + end) for end in ("", "-wal", "-shm", "-journal"))
    if name.startswith(f"{database.name}.") and name.endswith(".lock"):
        yield database.with_name(name)


def _is_same(path: Path, own: Path) -> bool:
    """Return whether both are one file, or would be one if they existed."""
    return _is_one(path, own) or (path.name == own.name and _is_one(path.parent, own.parent))


def _is_one(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False
