"""Damaged values: stored data that its column type cannot read is shown, and raises nothing.

A row that was edited by hand or hit by a bad disk must not take down the list it is in.
Each of these stands in for one value: it behaves as a harmless value of its kind, the
start of 1970, an empty list or 0, and shows itself as ``damaged: …``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from .. import text


def describe(raw: object) -> str:
    """Return ``damaged: …`` with the start of what is stored."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    if isinstance(raw, bytes | bytearray | memoryview):
        raw = bytes(raw).decode("utf-8", "backslashreplace")
    return f"damaged: {text.safe(text.truncate(str(raw)))}"


class Damaged:
    """The base of the classes here: ``stored`` is the value as the driver gave it."""

    stored: Any = ""

    def __str__(self) -> str:
        return describe(self.stored)

    __repr__ = __str__

    def __format__(self, _spec: str) -> str:
        return str(self)


class DamagedMoment(Damaged, datetime):
    """No moment. Long ago, so that what it ends has ended."""

    @classmethod
    def of(cls, raw: object) -> DamagedMoment:
        """Return the stand-in for ``stored``."""
        moment = cls(1970, 1, 1, tzinfo=UTC)
        moment.stored = raw
        return moment

    def __add__(self, span: timedelta) -> DamagedMoment:
        return self

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self if isinstance(other, timedelta) else super().__sub__(other)

    def astimezone(self, tz: tzinfo | None = None) -> DamagedMoment:
        """Return itself: it is no moment anywhere."""
        return self

    def replace(self, *_parts: Any, **_more: Any) -> DamagedMoment:
        """Return itself: it has no parts."""
        return self

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        """Return the text in place of a moment."""
        return str(self)


class DamagedNumber(Damaged, int):
    """No number. The result of arithmetic with it is damaged too."""

    @classmethod
    def of(cls, raw: object) -> DamagedNumber:
        """Return the stand-in for ``stored``."""
        number = cls(0)
        number.stored = raw
        return number

    def _itself(self, *_others: object) -> DamagedNumber:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _itself
    __round__ = __neg__ = __abs__ = _itself


class DamagedText(Damaged, str):
    """No text. It is the words that are shown in its place."""

    __slots__ = ("stored",)

    @classmethod
    def of(cls, raw: object) -> DamagedText:
        """Return the stand-in for ``stored``."""
        words = cls(describe(raw))
        words.stored = raw
        return words


class DamagedList(Damaged, list[Any]):
    """No list: empty, so that it allows nothing."""

    @classmethod
    def of(cls, raw: object) -> DamagedList:
        """Return the stand-in for ``stored``."""
        empty = cls()
        empty.stored = raw
        return empty


class DamagedMapping(Damaged, dict[str, Any]):
    """No mapping: empty."""

    @classmethod
    def of(cls, raw: object) -> DamagedMapping:
        """Return the stand-in for ``stored``."""
        empty = cls()
        empty.stored = raw
        return empty


class DamagedBytes(Damaged, bytes):
    """No bytes: empty."""

    @classmethod
    def of(cls, raw: object) -> DamagedBytes:
        """Return the stand-in for ``stored``."""
        empty = cls()
        empty.stored = raw
        return empty


def display_items(items: list[str]) -> list[str]:
    """Return the items, or the one line that is shown where they are damaged."""
    return [str(items)] if isinstance(items, Damaged) else items


# --- PostgreSQL --------------------------------------------------------------

TIMESTAMPTZ = 1184
"""PostgreSQL's number of the type ``timestamptz``."""


def tolerate_moments(connection: Any, _record: object) -> None:
    """Have a connection read what Python has no moment for, such as ``infinity``."""
    from psycopg import DataError
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    ordinary = connection.adapters.get_loader(TIMESTAMPTZ, Format.TEXT)

    class Moments(Loader):
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = ordinary(oid, context).load

        def load(self, data: Any) -> Any:
            try:
                return self._load(data)
            except DataError:
                return DamagedMoment.of(bytes(data).decode())

    connection.adapters.register_loader(TIMESTAMPTZ, Moments)
