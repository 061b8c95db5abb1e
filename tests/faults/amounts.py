"""Amounts: how often a fault is tried, in ``make test`` and in ``make faults``."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator

PART = float(os.environ.get("OPSAPP_FAULTS", "0"))
"""The part of the long form that runs: 1 is all of it, and 0 is what `make test` runs."""
IS_LONG = PART > 0
SEED = int(os.environ.get("OPSAPP_FAULTS_SEED", "20261"))
"""Decides the moments and the edits; another seed is another set of them."""
MINUTES = float(os.environ.get("OPSAPP_FAULTS_MINUTES", "0"))
"""The time of the whole run, shared by its tests; 0 is without a limit."""
share = float("inf")
"""The seconds that the trials of one test may take; ``conftest`` divides the time."""


def times(short: int, long: int) -> int:
    """Return the number of trials of this run."""
    return max(short, round(long * PART))


def trials(short: int, long: int) -> Iterator[int]:
    """Yield a number for each trial of this run; the first one, if the time of the test is over."""
    deadline = time.monotonic() + share
    for number in range(times(short, long)):
        if number and time.monotonic() > deadline:
            return
        yield number


def step(short: int) -> int:
    """Return the distance between the numbers of the system calls that are tried."""
    return max(1, round(1 / PART)) if IS_LONG else short


def dice(*names: object) -> random.Random:
    """Return random numbers that are the same in every run; the seed is shown by a failure."""
    seed = f"{SEED} {' '.join(map(str, names))}"
    sys.stdout.write(f"seed: {seed}\n")
    return random.Random(seed)  # noqa: S311  (dice, not secrets)
