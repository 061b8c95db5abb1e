"""The bytes of a :mod:`opsapp.profiling.ddsketch`, and their column type."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.engine import Dialect

from .types import Packed

_WIDTHS = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF, "Q": 0xFFFFFFFFFFFFFFFF}
"""The types of a count and their largest numbers, the narrowest first."""
_NUMBER_SIZE = 2
"""Bytes of a bucket's number."""
_PAIR_SIZES = {name: _NUMBER_SIZE + array(name).itemsize for name in _WIDTHS}


class Sketch(Packed):
    """A packed sketch; bytes that are none come as damaged ones, which count nothing."""

    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if value is not None:
            _check(value)
        return value


def pack(bins: Mapping[int, int]) -> bytes:
    """Return the buckets and their counts as bytes, the same on every machine."""
    most = max(bins.values(), default=0)
    width = next(name for name, limit in _WIDTHS.items() if most <= limit)
    numbers = array("h", sorted(bins))
    counts = array(width, [bins[number] for number in numbers])
    return width.encode() + b"".join(_in_order(column).tobytes() for column in (numbers, counts))


def unpack(packed: bytes) -> Iterator[tuple[int, int]]:
    """Return the buckets and their counts, as :func:`pack` was given them.

    :raises ValueError: these bytes are no sketch.
    """
    _check(packed)
    width = chr(packed[0])
    numbers, counts = array("h"), array(width)
    middle = 1 + (len(packed) - 1) // _PAIR_SIZES[width] * _NUMBER_SIZE
    numbers.frombytes(packed[1:middle])
    counts.frombytes(packed[middle:])
    return zip(_in_order(numbers), _in_order(counts), strict=True)


def _check(packed: bytes) -> None:
    size = _PAIR_SIZES.get(chr(packed[0])) if packed else None
    if size is None:
        raise ValueError("not a sketch")
    if (len(packed) - 1) % size:
        raise ValueError("not a whole sketch")


def _in_order(column: array[int]) -> array[int]:
    """Return the column in little-endian order, or back from it."""
    if sys.byteorder == "big":
        column.byteswap()
    return column
