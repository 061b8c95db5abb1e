"""Passwords that attackers try first: breached ones, by a file, and the application's name."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path
from typing import IO

from .. import settings, text
from ..errors import NotReady

_LINE = re.compile(rb"([0-9A-Fa-f]{40})(?::\d+)?\s*")
LONGEST = 100
"""The most bytes of a line: a hash and a number."""
SAMPLES = 1000
"""The lines of the file whose order :func:`check` compares."""


LEAST_BESIDE_NAME = 8
"""The least letters and digits of a password beside the application's name."""
IS_BREACHED = "This password is in a list of stolen passwords."
REPEATS_NAME = "The application's name is not accepted as a password, however often it is repeated."


def is_breached(password: str) -> bool:
    """Return whether the file of ``OPSAPP_BREACHED_PASSWORDS`` has it; False without one."""
    file = settings.get("OPSAPP_BREACHED_PASSWORDS")
    return file is not None and contains(file, password)


def repeats_name(password: str) -> bool:
    """Return whether a password is hardly more than ``OPSAPP_NAME``."""
    name, typed = _letters(str(settings.get("OPSAPP_NAME"))), _letters(password)
    return bool(name) and name in typed and len(typed.replace(name, "")) < LEAST_BESIDE_NAME


def _letters(value: str) -> str:
    """Return the letters and digits alone: case, accents and separators do not matter."""
    characters = unicodedata.normalize("NFKD", value.casefold())
    return "".join(character for character in characters if character.isalnum())


def contains(file: Path, password: str) -> bool:
    """Return whether the file has the hash of ``password``; reads about forty of its lines.

    :raises NotReady: the file cannot be read, or is no list of hashes.
    """
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
    try:
        with file.open("rb") as lines:
            low, high = 0, _size(lines, file)
            while low < high:
                middle = (low + high) // 2
                if (_hash_from(lines, middle, file) or digest) < digest:
                    low = middle + 1
                else:
                    high = middle
            return _hash_from(lines, low, file) == digest
    except OSError as error:
        raise _unusable(file, text.reason(error)) from error


def check(file: Path) -> str:
    """Compare the order of some lines of the file, and return that it can be used.

    :raises NotReady: the file cannot be read, is no list of hashes, or is not sorted.
    """
    try:
        with file.open("rb") as lines:
            size = _size(lines, file)
            places = range(0, size, max(1, size // SAMPLES))
            hashes = [line for place in places if (line := _hash_from(lines, place, file))]
    except OSError as error:
        raise _unusable(file, text.reason(error)) from error
    if hashes != sorted(hashes):
        raise _unusable(file, "its lines are not sorted")
    return f"{file} is a sorted list of {size / 2**20:,.1f} MiB"


def _size(lines: IO[bytes], file: Path) -> int:
    size = lines.seek(0, os.SEEK_END)
    if not size:  # A download that failed must not let every password through.
        raise _unusable(file, "it is empty")
    return size


def _hash_from(lines: IO[bytes], place: int, file: Path) -> bytes | None:
    """Return the hash of the first line that begins at this byte or later; None at the end."""
    lines.seek(max(0, place - 1))
    if place:
        lines.readline(LONGEST)
    line = lines.readline(LONGEST)
    if not line:
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise _unusable(file, "it has a line that is no SHA-1 hash")
    return match[1].upper()


def _unusable(file: Path, why: str) -> NotReady:
    return NotReady(
        f"OPSAPP_BREACHED_PASSWORDS {file} cannot be used: {why}",
        hint="haveibeenpwned-downloader makes such a file; docs/web.md",
    )
