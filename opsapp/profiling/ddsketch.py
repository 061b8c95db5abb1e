"""A sketch of many durations: counts in buckets that grow by 2 %, which add up exactly.

It is DDSketch's (Masson, Rim and Lee, 2019) logarithmic mapping with nothing around
it: a duration of ``x`` seconds is counted in the bucket ``ceil(log(x) / log(GAMMA))``,
so that the middle of a bucket is never further than 1 % from what is in it. Two
sketches are added by adding their counts, in any order, on any host.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

ACCURACY = 0.01
"""How far a percentile may be from the exact one, as a share of it."""
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
SHORTEST = 1e-7
"""Seconds; whatever is shorter is counted as this."""
_PER_LOG = 1 / math.log(GAMMA)

Bins = dict[int, int]
"""How many durations are in each bucket, by its number."""

_log, _ceil = math.log, math.ceil


def bucket(seconds: float) -> int:
    """The number of the bucket that ``seconds`` is counted in."""
    return _ceil(_log(seconds if seconds > SHORTEST else SHORTEST) * _PER_LOG)


def value(number: int) -> float:
    """The seconds that a bucket stands for: at most 1 % from everything in it."""
    return 2 * GAMMA**number / (GAMMA + 1)


def of(durations: Iterable[float]) -> Bins:
    """The sketch of these durations, in seconds."""
    # As bucket() of each, in C but for the multiplication.
    longer = [one if one > SHORTEST else SHORTEST for one in durations]
    logs = [one * _PER_LOG for one in map(_log, longer)]
    return dict(Counter(map(_ceil, logs)))


def add(bins: Bins, more: Mapping[int, int]) -> None:
    """Count what is in ``more`` in ``bins`` too."""
    for number, count in more.items():
        bins[number] = bins.get(number, 0) + count


def quantiles(bins: Mapping[int, int], shares: Iterable[float]) -> list[float | None]:
    """The durations below which these shares lie (0.95 for p95); None where there is nothing."""
    numbers = sorted(bins)
    below = list(accumulate(bins[number] for number in numbers))
    if not below:
        return [None for _ in shares]
    return [_at_rank(numbers, below, share * (below[-1] - 1)) for share in shares]


def _at_rank(numbers: list[int], below: list[int], rank: float) -> float:
    # The last rank is in the last bucket, whatever the rounding of the share did.
    return value(numbers[min(bisect_right(below, rank), len(numbers) - 1)])


# --- as bytes ----------------------------------------------------------------

_WIDTHS = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF, "Q": 0xFFFFFFFFFFFFFFFF}
"""The types of a count, the narrowest first, with what each holds at most."""


def pack(bins: Mapping[int, int]) -> bytes:
    """The sketch as bytes, the same on every machine: some three a bucket."""
    most = max(bins.values(), default=0)
    width = next(name for name, holds in _WIDTHS.items() if most <= holds)
    numbers = array("h", sorted(bins))
    counts = array(width, [bins[number] for number in numbers])
    return width.encode() + b"".join(_in_order(column).tobytes() for column in (numbers, counts))


def unpack(packed: bytes) -> Iterator[tuple[int, int]]:
    """The buckets and counts that :func:`pack` was given.

    :raises ValueError: these bytes are no sketch.
    """
    width = packed[:1].decode("ascii", "replace")
    if width not in _WIDTHS:
        raise ValueError("not a sketch")
    numbers, counts = array("h"), array(width)
    pairs, left = divmod(len(packed) - 1, numbers.itemsize + counts.itemsize)
    if left:
        raise ValueError("not a whole sketch")
    middle = 1 + pairs * numbers.itemsize
    numbers.frombytes(packed[1:middle])
    counts.frombytes(packed[middle:])
    return zip(_in_order(numbers), _in_order(counts), strict=True)


def _readable(packed: bytes) -> Iterable[tuple[int, int]]:
    try:
        return unpack(packed)
    except ValueError:
        return ()  # The counts beside it are still true; flask doctor names the row.


def _in_order(column: array[int]) -> array[int]:
    """The column in little-endian order, or back from it."""
    if sys.byteorder == "big":
        column.byteswap()
    return column


def unpack_into(bins: Bins, packed: bytes) -> None:
    """Count what is in the bytes of a sketch in ``bins`` too; damaged ones count nothing."""
    known = bins.get
    for number, count in _readable(packed):
        bins[number] = known(number, 0) + count
