"""Column types: UTC times, canonical JSON, texts and numbers that tolerate damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from ..values.damage import (
    Damaged,
    DamagedBytes,
    DamagedList,
    DamagedMapping,
    DamagedMoment,
    DamagedNumber,
    DamagedText,
)

BEYOND = 2**63
"""The first number beyond every column; SQLite turns it into a fraction."""


class Tolerant(TypeDecorator[Any]):
    """A type whose unreadable values become stand-ins of :mod:`opsapp.values.damage`."""

    impl: Any = sa.Text
    cache_ok = True
    stands_in: Callable[[object], Damaged]

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return a reader that gives the value, or its stand-in."""
        read, stands_in = super().result_processor(dialect, coltype), self.stands_in
        if read is None:
            return None

        def process(value: Any) -> Any:
            try:
                return read(value)
            except (ValueError, TypeError, OverflowError, RecursionError):
                return stands_in(value)

        return process


class UTCDateTime(Tolerant):
    """A time: aware UTC in Python, ``timestamptz`` or SQLite's text in the database.

    :raises ValueError: on a naive datetime.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True
    stands_in = DamagedMoment.of

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return a reader; a text of SQLite that sorts elsewhere than its time is damaged."""
        read = super().result_processor(dialect, coltype)
        if read is None or dialect.name != "sqlite":
            return read

        def process(value: Any) -> Any:
            # Python takes any letter between the date and the time, and SQL compares the texts.
            if isinstance(value, str) and value[10:11] not in ("", " "):
                return DamagedMoment.of(value)
            return read(value)

        return process

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Return a writer that sends a damaged time as stored: a page may begin after it."""
        write = super().bind_processor(dialect)

        def process(value: Any) -> Any:
            if isinstance(value, DamagedMoment):
                return value.stored
            return write(value) if write is not None else value

        return process

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, DamagedMoment):
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CanonicalJSON(Tolerant):
    """JSON as text in one canonical form, so that it can be hashed."""

    impl = sa.Text
    cache_ok = True
    shape: type
    """The type in Python."""

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        parsed = json.loads(value)
        if not isinstance(parsed, self.shape):
            raise TypeError
        return parsed


class JSONMapping(CanonicalJSON):
    """An object."""

    cache_ok = True
    shape = dict
    stands_in = DamagedMapping.of


class JSONWords(CanonicalJSON):
    """An array of strings."""

    cache_ok = True
    shape = list
    stands_in = DamagedList.of

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        parsed = super().process_result_value(value, dialect)
        if parsed is not None and not all(isinstance(word, str) for word in parsed):
            raise TypeError
        return parsed


class Words(Tolerant):
    """A text with a length limit; SQLite columns can hold other values."""

    impl = sa.String
    cache_ok = True
    stands_in = DamagedText.of

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if value is not None:
            if type(value) is not str:
                raise TypeError
            if not value.isascii():
                value.encode()  # Bytes that are not UTF-8 arrive as surrogates.
        return value


class LongWords(Words):
    """A text of any length."""

    impl = sa.Text
    cache_ok = True


class Number(Tolerant):
    """A whole number."""

    impl = sa.Integer
    cache_ok = True
    stands_in = DamagedNumber.of

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        # Sums of columns have this type too.
        if value is not None and not -BEYOND <= value < BEYOND:
            raise OverflowError
        return value


class BigNumber(Number):
    """A whole number of up to 64 bits."""

    impl = sa.BigInteger
    cache_ok = True


class Fraction(Tolerant):
    """A number with a fraction."""

    impl: Any = sa.Double
    cache_ok = True
    stands_in = DamagedNumber.of

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if value is not None and value - value != 0:  # Infinite, or no number.
            raise ValueError
        return value


class ShortFraction(Fraction):
    """A number with a fraction; `Float` in migrations, but stored alike."""

    impl = sa.Float
    cache_ok = True


class Packed(Tolerant):
    """Bytes."""

    impl = sa.LargeBinary
    cache_ok = True
    stands_in = DamagedBytes.of

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Refuse a number, of which SQLAlchemy would make as many zeros."""
        read = super().result_processor(dialect, coltype)
        if read is None:
            return None
        return lambda value: self.stands_in(value) if isinstance(value, int) else read(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return value


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON text: sorted keys, ASCII, no spaces, no NaN."""
    return _encode(value)


# Made once: json.dumps would make one for each text, which takes as long as the text.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class database_now(FunctionElement[datetime]):
    """The database's clock, so that all hosts agree if a grant is over."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(database_now)
def _server_now(element: database_now, compiler: Any, **options: Any) -> str:
    # Not now(): a unit that waited for the gate would see the time before its wait.
    return "statement_timestamp()"


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: Any, **options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


class random_word(FunctionElement[str]):
    """Thirty-two random hexadecimal digits, made by the database: another for each row."""

    type = sa.String()
    inherit_cache = True


@compiles(random_word)
def _server_word(element: random_word, compiler: Any, **options: Any) -> str:
    return "replace(CAST(gen_random_uuid() AS text), '-', '')"


@compiles(random_word, "sqlite")
def _sqlite_word(element: random_word, compiler: Any, **options: Any) -> str:
    return "lower(hex(randomblob(16)))"
