"""The sketch: within its bound of an exact oracle, and the same in any order of addition."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from ddsketch import DDSketch

from opsapp.models import sketches
from opsapp.profiling import ddsketch

SHARES = (0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)


def durations(count: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)  # noqa: S311  (the same every time)
    return [chance.lognormvariate(-4, 1.5) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "draw"),
    [
        (1_000_000, lambda chance: chance.lognormvariate(-4, 1.5)),
        (100_000, lambda chance: chance.uniform(0.001, 2)),
        (100_000, lambda chance: 0.001 * chance.paretovariate(0.8)),
        (100_000, lambda chance: chance.choice((0.002, 0.9)) * chance.lognormvariate(0, 0.05)),
    ],
    ids=["lognormal", "uniform", "heavy tail", "two humps"],
)
def test_percentiles_are_within_the_bound(
    count: int, draw: Callable[[random.Random], float]
) -> None:
    chance = random.Random(1)  # noqa: S311  (the same every time)
    samples = [draw(chance) for _ in range(count)]
    found = ddsketch.quantiles(ddsketch.of(samples), SHARES)
    samples.sort()
    for share, value in zip(SHARES, found, strict=True):
        exact = samples[int(share * (len(samples) - 1))]
        assert value is not None
        assert abs(value - exact) <= ddsketch.ACCURACY * exact


def test_parts_add_up_to_the_whole_in_any_order() -> None:
    samples = durations(10_000)
    parts = [ddsketch.of(samples[start : start + 1000]) for start in range(0, 10_000, 1000)]
    random.Random(2).shuffle(parts)  # noqa: S311
    together: ddsketch.Bins = {}
    for part in parts:
        ddsketch.add(together, part)
    assert together == ddsketch.of(samples)


@pytest.mark.parametrize("most", [1, 300, 70_000, 2**40])
def test_packed_sketch_comes_back(most: int) -> None:
    bins = {-500: 1, 0: most, 400: 7}
    again: ddsketch.Bins = {}
    ddsketch.unpack_into(again, sketches.pack(bins))
    assert again == bins


def test_empty_sketch_has_no_percentile() -> None:
    assert ddsketch.quantiles({}, [0.5]) == [None]
    assert dict(sketches.unpack(sketches.pack({}))) == {}


@pytest.mark.parametrize("packed", [b"", b"x", b"B\x01", b"Q123"])
def test_bytes_that_are_no_sketch_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not a"):
        dict(sketches.unpack(packed))


def test_shortest_duration_is_counted() -> None:
    assert ddsketch.of([0.0, -1.0]) == {ddsketch.bucket(0.0): 2}


def test_buckets_are_those_of_ddsketch() -> None:
    samples = durations(5000)
    theirs = DDSketch(ddsketch.ACCURACY)
    for sample in samples:
        theirs.add(sample)
    shares = (0.1, 0.5, 0.95, 0.99)
    ours = ddsketch.quantiles(ddsketch.of(samples), shares)
    assert ours == pytest.approx([theirs.get_quantile_value(share) for share in shares])
