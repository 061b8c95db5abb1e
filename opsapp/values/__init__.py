"""Values of a database as JSON, exact: a value without a JSON type becomes text.

``damage`` has the stand-ins of values that are not what their column holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from ..clock import rfc3339
from ..text import safe

__all__: list[str] = []

LONGEST = 4000
"""The number of digits of an integer that Python still prints."""


class Array(list[Any]):
    """A list from the database: JSON also where others are shown as words."""


class Document(dict[str, Any]):
    """An object from the database: JSON also where others are shown as words."""


class Unread(str):
    """JSON that was not parsed, because Python would change it."""


def exact(value: Any) -> Any:
    """Return a value of :func:`plain` that every format shows whole."""
    match value:
        case datetime():
            return rfc3339(value)
        case dict():
            return Document(value)
        case list():
            return Array(value)
    return value


def plain(value: Any) -> Any:
    """Return ``value`` as a number, text, boolean, time, or a list or object of them."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(Decimal(value))  # As PostgreSQL does.
        case Decimal():
            return _number(value)
        case datetime():
            return value if value.tzinfo else value.isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return "0x" + bytes(value).hex()
        case Mapping():
            return {safe(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
    return str(value)


def _number(value: Decimal) -> int | float | str:
    if not value.is_finite():
        return str(value)
    if value.adjusted() > LONGEST:
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    # A number where that is exact: 12.10 is, a sum with thirty digits is not.
    near = float(value)
    return near if Decimal(repr(near)) == value else str(value)


def readable(data: bytes) -> str | bytes:
    """Return a text of SQLite's, or its bytes if it is no UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def distinct(names: Sequence[str]) -> list[str]:
    """Return column names that differ: of two that are called ``id`` the second is ``id_2``."""
    columns: list[str] = []
    for name in names:
        unique, number = name, 2
        while unique in columns:
            unique, number = f"{name}_{number}", number + 1
        columns.append(unique)
    return columns
