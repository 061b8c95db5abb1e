"""A sketch of many durations: counts in buckets that grow by 2 %, which add up exactly.

It is DDSketch's (Masson, Rim and Lee, 2019) logarithmic mapping with nothing around
it: a duration of ``x`` seconds is counted in the bucket ``ceil(log(x) / log(GAMMA))``,
so that the middle of a bucket is never further than 1 % from what is in it. Two
sketches are added by adding their counts, in any order, on any host.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate

from ..models.sketches import unpack

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
    longer = [seconds if seconds > SHORTEST else SHORTEST for seconds in durations]
    logs = [seconds * _PER_LOG for seconds in map(_log, longer)]
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


def unpack_into(bins: Bins, packed: bytes) -> None:
    """Count the buckets of a packed sketch in ``bins``; a damaged sketch counts nothing."""
    if not packed:
        return  # The figures beside it still count, and flask doctor names the row.
    count_of = bins.get
    for number, count in unpack(packed):
        bins[number] = count_of(number, 0) + count
