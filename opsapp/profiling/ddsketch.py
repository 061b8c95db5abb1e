"""DDSketch: counts of durations in buckets that grow by 2 %, which add up exactly.

This is the logarithmic mapping of Masson, Rim and Lee (2019). A duration of ``x`` seconds
counts in the bucket ``ceil(log(x) / log(GAMMA))``. So the middle of a bucket is within 1 %
of each duration in it. To add two sketches, add their counts, in any order, on any host.
See docs/decisions/profiling.md#the-sketch-is-our-own.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate

from ..models.sketches import unpack

ACCURACY = 0.01
"""The largest error of a percentile, as a share of the exact one."""
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
SHORTEST = 1e-7
"""Seconds; a shorter duration counts as this."""
_PER_LOG = 1 / math.log(GAMMA)

Bins = dict[int, int]
"""The count of durations in each bucket, by the bucket's number."""

_log, _ceil = math.log, math.ceil


def bucket(seconds: float) -> int:
    """Return the number of the bucket for ``seconds``."""
    return _ceil(_log(seconds if seconds > SHORTEST else SHORTEST) * _PER_LOG)


def value(number: int) -> float:
    """Return the seconds that a bucket stands for: within 1 % of each duration in it."""
    return 2 * GAMMA**number / (GAMMA + 1)


def of(durations: Iterable[float]) -> Bins:
    """Return the sketch of these durations, in seconds."""
    # bucket() of each, in C except for the multiplication.
    longer = [seconds if seconds > SHORTEST else SHORTEST for seconds in durations]
    logs = [seconds * _PER_LOG for seconds in map(_log, longer)]
    return dict(Counter(map(_ceil, logs)))


def add(bins: Bins, more: Mapping[int, int]) -> None:
    """Add the counts of ``more`` to ``bins``."""
    for number, count in more.items():
        bins[number] = bins.get(number, 0) + count


def quantiles(bins: Mapping[int, int], shares: Iterable[float]) -> list[float | None]:
    """Return the durations below which these shares lie (0.95 for p95), or None if empty."""
    numbers = sorted(bins)
    below = list(accumulate(bins[number] for number in numbers))
    if not below:
        return [None for _ in shares]
    return [_at_rank(numbers, below, share * (below[-1] - 1)) for share in shares]


def _at_rank(numbers: list[int], below: list[int], rank: float) -> float:
    # Rounding may put the last rank beyond the last bucket.
    return value(numbers[min(bisect_right(below, rank), len(numbers) - 1)])


def unpack_into(bins: Bins, packed: bytes) -> None:
    """Count the buckets of a packed sketch in ``bins``; a damaged sketch counts nothing."""
    if not packed:
        return  # The figures beside it still count, and flask doctor names the row.
    count_of = bins.get
    for number, count in unpack(packed):
        bins[number] = count_of(number, 0) + count
