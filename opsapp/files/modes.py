"""Modes of files: which of them other users can read or write."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from .. import text

HARMLESS = ("console.toml", "jobs.toml")
"""Files of the instance folder that hold no secret, and name what is run."""


def modes(folder: Path) -> dict[Path, int]:
    """Return the permissions of every file in the folder and below."""
    return {path: mode for path in folder.rglob("*") if (mode := mode_of(path)) is not None}


def mode_of(path: Path) -> int | None:
    """Return the permissions of a file; None if it is none, or has just gone, as SQLite's do."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return stat.S_IMODE(mode) if stat.S_ISREG(mode) else None


def is_exposed(path: Path, mode: int, folder: Path) -> bool:
    """Return whether other users can read a file of ``folder``.

    A folder above it may keep them out.
    """
    above = [parent for parent in path.parents if parent == folder or folder in parent.parents]
    through = 0o077
    for parent in above:
        # The bit to enter a folder counts for reading what is in it.
        entry = parent.stat().st_mode & 0o011
        through &= entry * 0o7
    return path.name not in HARMLESS and mode & through != 0


def writable_by_others(path: Path) -> Path | None:
    """Return the file, or the folder in which they replace it, if other users can write it.

    Its owner may be root, the user, or the owner of the folder.
    """
    file, folder = path.stat(), path.parent.stat()
    if file.st_mode & 0o022 or file.st_uid not in (0, os.geteuid(), folder.st_uid):
        return path
    is_open = folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX
    return path.parent if is_open else None


def in_words(paths: Collection[Path]) -> str:
    """Return how many files they are."""
    return text.pluralize(len(paths), "file")
