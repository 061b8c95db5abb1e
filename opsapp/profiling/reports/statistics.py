"""Percentiles, and one bootstrap that tells a change from noise.

Neighbouring samples are alike, because a machine is busy or idle for a while. So the
bootstrap draws runs of neighbours, as long as the square root of the number of samples.
See docs/decisions/profiling.md#differences-are-resampled.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from ...types import Record

DRAWS = 1000
LEVEL = 0.99
"""Share of the draws that the interval covers; several figures are compared at once."""
DEVIATIONS = 2.576
"""The same level, in standard deviations."""
NOISE = 0.05
"""Two processes of the same code differ by up to this share."""
TIMES = ("p50", "p95", "p99", "mean", "cpu")
COUNTS = ("queries", "errors")
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LEAST = 20
"""Samples that a comparison needs on both sides."""
LEAST_FOR_P99 = 100


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of the ordered samples lies."""
    return ordered[min(len(ordered) - 1, int(share * (len(ordered) - 1) + 0.5))]


def changes(name: str, before: Record, after: Record) -> Iterator[Record]:
    """Yield a row for each metric; times are in milliseconds.

    ``change`` is a share of ``before``, and lies between ``low`` and ``high`` in 99 of 100
    draws. ``verdict`` is ``worse`` or ``better`` if both have the sign of the change, and
    the change is above :data:`NOISE`.
    """
    chance = random.Random(name)  # noqa: S311  (the same answer for the same samples)
    for metric in TIMES:
        key = "cpu" if metric == "cpu" else "samples"
        least = LEAST_FOR_P99 if metric == "p99" else LEAST
        if min(len(before[key]), len(after[key])) >= least:
            yield _compare_times(name, metric, before[key], after[key], chance)
    for metric in COUNTS:
        yield _compare_counts(name, metric, before, after)


def _compare_times(
    name: str, metric: str, before: list[float], after: list[float], chance: random.Random
) -> Record:
    change = _ratio(metric, before, after)
    ratios = sorted(
        _ratio(metric, _resample(before, chance), _resample(after, chance)) for _ in range(DRAWS)
    )
    low, high = quantile(ratios, (1 - LEVEL) / 2), quantile(ratios, (1 + LEVEL) / 2)
    is_noise = abs(change) <= NOISE or low <= 0 <= high
    return {
        "name": name,
        "metric": metric,
        "before": round(_figure(metric, before) * 1000, 3),
        "after": round(_figure(metric, after) * 1000, 3),
        "change": round(change, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "verdict": "no change" if is_noise else "worse" if change > 0 else "better",
    }


def _resample(samples: list[float], chance: random.Random) -> list[float]:
    """Draw as many samples again, in runs of neighbours; the last one is followed by the first."""
    count = len(samples)
    length = round(math.sqrt(count))
    ring = samples + samples[:length]
    starts = [int(chance.random() * count) for _ in range(-(-count // length))]
    return [sample for start in starts for sample in ring[start : start + length]][:count]


def _ratio(metric: str, before: list[float], after: list[float]) -> float:
    return _figure(metric, after) / max(_figure(metric, before), 1e-9) - 1


def _figure(metric: str, samples: list[float]) -> float:
    if metric in SHARES:
        return quantile(sorted(samples), SHARES[metric])
    return sum(samples) / len(samples)


def _compare_counts(name: str, metric: str, before: Record, after: Record) -> Record:
    """Compare counts: each difference in queries is a change.

    The share of errors has changed if the difference is above its standard error.
    """
    first, second = (side[metric] / side["count"] for side in (before, after))
    spread = 0.0
    if metric == "errors":
        variances = (
            share * (1 - share) / side["count"]
            for share, side in ((first, before), (second, after))
        )
        spread = DEVIATIONS * math.sqrt(sum(variances))
    is_noise = abs(second - first) <= spread
    return {
        "name": name,
        "metric": metric,
        "before": round(first, 4),
        "after": round(second, 4),
        "change": round(second / first - 1, 4) if first else None,
        "low": None,
        "high": None,
        "verdict": "no change" if is_noise else "worse" if second > first else "better",
    }
