"""What is never shown: columns that hold secrets, and values that look like one."""

from __future__ import annotations

import re
from typing import Any

from .values import Unread

HIDDEN = "•••"

_NAMES = re.compile(
    r"password|passwd|passphrase|secret|uniquifier|recovery_codes|api_?key|private_?key|"
    r"access_?key|^key$|^salt$|credential|(^|_)token(_hash)?$",
    re.IGNORECASE,
)
_MEMBERS = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')
_HASHES = re.compile(r"\$(?:argon2|2[aby]|pbkdf2|scrypt)[\w-]*\$")


def is_secret_name(name: str) -> bool:
    """Whether a column of this name holds a secret, as far as its name tells."""
    return _NAMES.search(name) is not None


def is_secret_column(column: Any) -> bool:
    """Whether a mapped column holds a secret: its ``info`` decides, else its name."""
    declared = column.info.get("secret")
    return is_secret_name(column.name) if declared is None else bool(declared)


def veiled(name: str, value: Any) -> Any:
    """``value`` of the column ``name``, or ``•••`` where it is a secret; JSON is looked into."""
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name) or looks_secret(value) or _names_secret(value):
        return HIDDEN
    match value:
        case dict():
            return {key: veiled(str(key), item) for key, item in value.items()}
        case list():
            return [veiled(name, item) for item in value]
    return value


def _names_secret(value: Any) -> bool:
    """Whether JSON that was not taken apart has a member with a secret's name."""
    return isinstance(value, Unread) and any(map(is_secret_name, _MEMBERS.findall(value)))


def looks_secret(value: Any) -> bool:
    """Whether a text has the hash of a password in it, under whatever name it comes."""
    return isinstance(value, str) and "$" in value and _HASHES.search(value) is not None
