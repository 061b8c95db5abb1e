"""Counts of trials and of what happened, as JSON lines that several processes append to."""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = os.environ.get("OPSAPP_FAULTS_TALLY")
"""The file of the counts; without one they are dropped, as in ``make test``."""


def count(chapter: str, trial: str, database: str, outcome: str, number: float = 1) -> None:
    """Add to a count.

    :param chapter: the heading of the page that shows it, such as ``Kills``.
    :param trial: the fault and the command.
    :param outcome: a few words, such as ``nothing written``.
    """
    if FILE:
        line = json.dumps([chapter, trial, database, outcome, number])
        with Path(FILE).open("a") as file:
            file.write(line + "\n")


def slowest(trial: str, database: str, seconds: float) -> None:
    """Add a duration, of which the page shows the number and the longest."""
    count("Waiting", trial, database, "1", seconds)


def failed(test: str) -> None:
    """Add a test of which a trial broke a promise."""
    count("Failed", test, "", "failed")
