"""Values of a database as JSON knows them, exact: what JSON has no word for becomes text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from ..text import safe


def plain(value: Any) -> Any:
    """``value`` as a number, a text, a truth, a moment, or a list or object of them."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
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
    if value == value.to_integral_value():
        return int(value)
    # A number where that is exact: 12.10 is, a sum with thirty digits is not.
    near = float(value)
    return near if Decimal(repr(near)) == value else str(value)


def distinct(names: Sequence[str]) -> list[str]:
    """Column names that differ: of two that are called ``id`` the second is ``id_2``."""
    found: list[str] = []
    for name in names:
        unique, number = name, 2
        while unique in found:
            unique, number = f"{name}_{number}", number + 1
        found.append(unique)
    return found
