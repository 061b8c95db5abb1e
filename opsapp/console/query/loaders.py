"""Values of PostgreSQL as they are: what Python's types cannot hold stays the server's text."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from psycopg import DataError
from psycopg.adapt import Buffer, Loader
from psycopg.postgres import types
from psycopg.types.array import ArrayLoader
from psycopg.types.datetime import (
    DateLoader,
    IntervalLoader,
    TimeLoader,
    TimestampLoader,
    TimestamptzLoader,
    TimetzLoader,
)
from psycopg.types.string import TextLoader

from ...values import LONGEST, Unread

DEEPEST = 100
"""The number of levels of JSON that are parsed; later printing has a limit too."""

_AS_TEXT = (
    *("interval", "time", "timetz", "inet", "cidr", "uuid", "record"),
    *("int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange"),
    *("int4multirange", "int8multirange", "nummultirange"),
    *("datemultirange", "tsmultirange", "tstzmultirange"),
)
"""Types that Python would write differently from the server."""
_SETTINGS = {"datestyle": "ISO", "intervalstyle": "postgres", "extra_float_digits": "1"}


def load_exactly(connection: Any) -> None:
    """Load the values of a connection exactly as the server has them.

    :param connection: psycopg's, whose settings change in its transaction.
    """
    for name, value in _SETTINGS.items():
        connection.execute(f"SET {name} = '{value}'")
    adapters = connection.adapters
    load_whole(connection)
    for name in _AS_TEXT:
        adapters.register_loader(name, TextLoader)
    for name in ("json", "jsonb"):
        adapters.register_loader(name, _Json)
    for info in types:
        if info.array_oid:
            adapters.register_loader(info.array_oid, _Array)


def load_whole(connection: Any) -> None:
    """Load a value that Python's type cannot hold as text."""
    for name, loader in _OR_TEXT.items():
        connection.adapters.register_loader(name, loader)


def _or_text(kind: type[Loader]) -> type[Loader]:
    class OrText(kind):  # type: ignore[valid-type,misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except (DataError, ValueError, OverflowError):
                return _text(data)

    return OrText


def _text(data: Buffer) -> str:
    return bytes(data).decode()


class _Interval(IntervalLoader):
    """An interval; one with months is the server's text, since a month is no number of days."""

    def load(self, data: Buffer) -> Any:
        text = _text(data)
        return text if "mon" in text or "year" in text else super().load(data)


_OR_TEXT: dict[str, type[Loader]] = {
    "date": _or_text(DateLoader),
    "time": _or_text(TimeLoader),
    "timetz": _or_text(TimetzLoader),
    "timestamp": _or_text(TimestampLoader),
    "timestamptz": _or_text(TimestamptzLoader),
    "interval": _or_text(_Interval),
}


class _Array(ArrayLoader):
    """A list; one that does not count from 1 is the server's text."""

    def __init__(self, oid: int, context: Any = None) -> None:
        info = types[oid]
        self.base_oid, self.delimiter = info.oid, info.delimiter.encode()
        super().__init__(oid, context)

    def load(self, data: Buffer) -> Any:
        return _text(data) if bytes(data[:1]) == b"[" else super().load(data)


class _Json(Loader):
    """A document; one that Python would change, or could not print, is its text."""

    def load(self, data: Buffer) -> Any:
        text = _text(data)
        try:
            document = _READ_JSON(text)
        except (ValueError, RecursionError):
            return Unread(text)
        return Unread(text) if _is_deep(document) else document


def _number(digits: str) -> int:
    if len(digits) > LONGEST:
        raise ValueError("it is longer than Python prints")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("two members have the same name")
    return members


_READ_JSON: Callable[[str], Any] = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_number, parse_float=Decimal
).decode


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [item for node in level for item in _inside(node)]
        if not level:
            return False
    return True


def _inside(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
