"""Is it a change or is it noise: what 99 of 100 repetitions would have given.

Of single samples as many are drawn, again and again, as there are independent ones: neighbours
are alike, which their order tells; and one fewer, since drawing from few samples varies less
than measuring again does. Of a sketch only counts are known; there the percentile of a drawn
set is the order statistic of a Beta-distributed rank, which is the same as drawing.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

from ...types import Record
from .. import ddsketch

DRAWS = 1000
LEVEL = 0.99
"""Several figures are looked at; at 0.95 one of them would often be off by chance."""
DEVIATIONS = 2.576
"""The same level, in standard deviations."""
NOISE = 0.05
"""Two processes that do the same differ by less than this share, whatever each says of itself."""
ALIKE = 0.95
"""Neighbours that are more alike than this say nothing; that would need many more samples."""
TIMES = ("p50", "p95", "p99", "mean", "cpu")
COUNTS = ("queries", "errors")
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LEAST = {"p50": 10, "p95": 20, "p99": 100}
"""So many samples a percentile needs, on both sides, to be compared at all."""

Draw = Callable[[random.Random], float]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered samples lies."""
    return ordered[min(len(ordered) - 1, int(share * (len(ordered) - 1) + 0.5))]


def changes(name: str, before: Record, after: Record) -> Iterator[Record]:
    """A row for each thing that was measured on both sides; times are in milliseconds.

    ``change`` is a share of ``before``, ``low`` and ``high`` where it lies with 99 %;
    ``verdict`` is ``worse`` or ``better`` only if that is all on one side of none, and more
    than what two processes of the same code differ by anyhow.
    """
    chance = random.Random(name)  # noqa: S311  (the same answer for the same data)
    for metric in TIMES:
        draws = [_draw(metric, side) for side in (before, after)]
        if None not in draws:
            yield _judged(name, metric, [d for d in draws if d is not None], chance)
    for metric in COUNTS:
        if metric in before and metric in after:
            yield _counted(name, metric, before, after)


def _judged(name: str, metric: str, sides: list[tuple[float, Draw]], chance: Any) -> Record:
    (before, draw_before), (after, draw_after) = sides
    ratios = sorted(draw_after(chance) / max(draw_before(chance), 1e-9) - 1 for _ in range(DRAWS))
    edge = (1 - LEVEL) / 2
    low, high = quantile(ratios, edge), quantile(ratios, 1 - edge)
    return {
        "name": name,
        "metric": metric,
        "before": round(before * 1000, 3),
        "after": round(after * 1000, 3),
        "change": round(after / max(before, 1e-9) - 1, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "verdict": _verdict(after / max(before, 1e-9) - 1, low, high),
    }


def _verdict(change: float, low: float, high: float) -> str:
    if abs(change) <= NOISE or low <= 0 <= high:
        return "no change"
    return "worse" if change > 0 else "better"


def _draw(metric: str, side: Record) -> tuple[float, Draw] | None:
    """The figure of one side, and how to draw it anew; None if there is too little."""
    samples = side.get("cpu" if metric == "cpu" else "samples")
    if samples:
        return _of_samples(metric, samples)
    if side.get("bins") and metric != "cpu":
        return _of_sketch(metric, {int(k): int(v) for k, v in side["bins"]}, side)
    return None


def _of_samples(metric: str, samples: list[float]) -> tuple[float, Draw] | None:
    if len(samples) < LEAST.get(metric, 5):
        return None
    share = SHARES.get(metric)
    count = max(1, independent(samples) - 1)

    def figure(drawn: list[float]) -> float:
        return sum(drawn) / len(drawn) if share is None else quantile(sorted(drawn), share)

    return figure(samples), lambda chance: figure(chance.choices(samples, k=count))


def independent(samples: Sequence[float]) -> int:
    """As many independent samples would say as much as these, in the order they were taken.

    By the correlation of the ranks of neighbours, with what it lacks in few samples
    (Marriott and Pope, 1954).
    """
    count, ordered = len(samples), sorted(samples)
    ranks = [bisect_left(ordered, one) + bisect_right(ordered, one) for one in samples]
    off = [rank - count for rank in ranks]
    alike: float = sum(map(mul, off, off[1:])) / (sum(map(mul, off, off)) or 1)
    alike = min(max(0.0, (count * alike + 1) / (count - 3)), ALIKE)
    return max(1, round(count * (1 - alike) / (1 + alike)))


def _of_sketch(metric: str, bins: ddsketch.Bins, side: Record) -> tuple[float, Draw] | None:
    count = sum(bins.values())
    if count < LEAST.get(metric, 5):
        return None
    if metric == "mean":
        mean = side["seconds"] / count
        squares = sum(n * ddsketch.value(number) ** 2 for number, n in bins.items()) / count
        error = math.sqrt(max(0.0, squares - mean**2) / count)
        return mean, lambda chance: max(0.0, chance.gauss(mean, error))
    share = SHARES[metric]
    rank = max(1.0, share * count)

    below = _below(bins)

    def draw(chance: random.Random) -> float:
        return _at(below, chance.betavariate(rank, count - rank + 1))

    return ddsketch.quantiles(bins, [share])[0] or 0.0, draw


def _below(bins: ddsketch.Bins) -> tuple[list[int], list[float]]:
    numbers = sorted(bins)
    count = sum(bins.values())
    return numbers, [below / count for below in accumulate(bins[number] for number in numbers)]


def _at(below: tuple[list[int], list[float]], share: float) -> float:
    """The value at a share of all, between the edges of its bucket: else steps would be noise."""
    numbers, shares = below
    place = min(bisect_left(shares, share), len(numbers) - 1)
    floor = shares[place - 1] if place else 0.0
    inside = (share - floor) / max(shares[place] - floor, 1e-12)
    return float(ddsketch.value(numbers[place]) * ddsketch.GAMMA ** (inside - 0.5))


def _counted(name: str, metric: str, before: Record, after: Record) -> Record:
    """Queries are counted and not measured: any difference of the mean is one.

    Errors are a share of requests; they differ if chance would not have it so.
    """
    first, second = (side[metric] / side["count"] for side in (before, after))
    low = high = second - first
    if metric == "errors":
        spread = DEVIATIONS * math.sqrt(
            sum(share * (1 - share) / side["count"]
                for share, side in ((first, before), (second, after)))
        )  # fmt: skip
        low, high = low - spread, high + spread
    elif "samples" not in before:
        low, high = low - 0.05 * first, high + 0.05 * first  # Another mix of requests.
    return {
        "name": name,
        "metric": metric,
        "before": round(first, 4),
        "after": round(second, 4),
        "change": round(second / first - 1, 4) if first else None,
        "low": None,
        "high": None,
        "verdict": "worse" if low > 0 else "better" if high < 0 else "no change",
    }
