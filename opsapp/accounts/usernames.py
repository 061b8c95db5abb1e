"""Usernames: names without an @, to sign in with instead of the address."""

from __future__ import annotations

import re

from .. import text
from ..errors import Invalid

LONGEST = 64
_OTHER = re.compile(r"[^\w.-]")


def clean(value: str) -> str:
    """Return ``value`` as the canonical username: letters, digits, ``.``, ``_`` and ``-``.

    :raises Invalid: it has another character, has digits only, as an id, or begins with a
        dash, as an option.
    """
    value = text.canonical(text.validate(value, "username", longest=LONGEST))
    if len(value) > LONGEST:  # NFKC may turn one character into eighteen.
        raise Invalid(f"username is longer than {LONGEST} after normalization")
    if other := _OTHER.search(value):
        problem = f"username has {other[0]!r} at position {other.start() + 1}"
        raise Invalid(f"{problem}; it may have letters, digits, '.', '_' and '-'")
    if value.startswith("-"):
        raise Invalid("username begins with '-', which would be an option")
    if value.isdigit():
        raise Invalid("username has digits only, which would be an id")
    return value
