"""Secrets: read from a file that a setting names, or generated once in development."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from .. import text, textfiles
from ..errors import NotReady

SHORTEST = 32
"""Bytes; OWASP ASVS asks for 128 bits of entropy, which 32 random characters hold."""
LONGEST = 65_536
"""Bytes of a secret's file."""
MAKE = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
# An old installation needs its old ones: a new pepper locks all its users out.
NEW = f"for a new installation: {MAKE}"


def read(name: str, file: str) -> str:
    """Return the secret in the file that ``NAME_FILE`` names.

    :raises NotReady: it cannot be read, or is not text.
    """
    try:
        if not Path(file).is_file():  # A pipe would keep every command waiting.
            raise NotReady(f"{name}_FILE {file} is not a file", hint=NEW)
        return textfiles.read(file, longest=LONGEST).strip()
    except textfiles.NotUtf8 as error:
        raise NotReady(f"{name}_FILE {file} is not text, but raw bytes", hint=NEW) from error
    except textfiles.NotText as error:
        raise NotReady(f"{name}_FILE {file} {error}", hint=NEW) from error
    except OSError as error:
        raise NotReady(f"{name}_FILE cannot be read: {error}") from error


def refuse_weak(name: str, value: str) -> None:
    """Refuse a secret that can be guessed.

    :raises NotReady: it is short, or repeats a few characters.
    """
    length = len(value.encode())
    if length < SHORTEST:
        size = text.pluralize(length, "byte")
        raise NotReady(f"{name} is {size} long; {SHORTEST} are needed", hint=MAKE)
    if len(set(value)) < 10:
        raise NotReady(f"{name} repeats a few characters; it must be random", hint=MAKE)


def read_or_create(path: Path) -> str:
    """Return the secret in ``path``, made on first need, the same for every racing process.

    :raises NotReady: it cannot be made or read, or the file was emptied.
    """
    try:
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # Another process was first.
                textfiles.create_private(path, secrets.token_urlsafe(48).encode())
        value = textfiles.read(path, longest=LONGEST).strip()
    except OSError as error:
        raise NotReady(f"the secret {path} cannot be read or created: {error}") from error
    except textfiles.NotText as error:
        raise NotReady(f"the secret {path} {error}", hint="restore the file") from error
    if len(value) < SHORTEST:
        raise NotReady(f"the secret {path} is not what was generated", hint="restore the file")
    return value
