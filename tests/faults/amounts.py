"""Amounts: how often a fault is tried, in ``make test`` and in ``make faults``."""

from __future__ import annotations

import os
import random
import sys

PART = float(os.environ.get("OPSAPP_FAULTS", "0"))
"""The part of the long form that runs: 1 is all of it, and 0 is what `make test` runs."""
IS_LONG = PART > 0
SEED = int(os.environ.get("OPSAPP_FAULTS_SEED", "20261"))
"""Decides the moments and the edits; another seed is another set of them."""


def times(short: int, long: int) -> int:
    """Return the number of trials of this run."""
    return max(short, round(long * PART))


def step(short: int) -> int:
    """Return the distance between the numbers of the system calls that are tried."""
    return max(1, round(1 / PART)) if IS_LONG else short


def dice(*names: object) -> random.Random:
    """Return random numbers that are the same in every run; the seed is shown by a failure."""
    seed = f"{SEED} {' '.join(map(str, names))}"
    sys.stdout.write(f"seed: {seed}\n")
    return random.Random(seed)  # noqa: S311  (dice, not secrets)
