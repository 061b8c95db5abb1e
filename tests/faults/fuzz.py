"""Fuzzing that is guided by coverage, for longer than the tests: pip install atheris.

    python -m tests.faults.fuzz "import file" --runs 1000000

A target is a property of :mod:`properties`. What breaks one is printed, and kept in a file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

from tests.faults.amounts import SEED

READERS = [
    *("opsapp.text", "opsapp.addresses", "opsapp.clock", "opsapp.libpq", "opsapp.settings"),
    *("opsapp.jobs", "opsapp.accounts.transfer", "opsapp.unit.chain", "opsapp.console.transcript"),
    *("opsapp.cli", "opsapp.profiling.record", "opsapp.audit.verification"),
]
MEMORY = 512
"""MiB that a run may take."""

with atheris.instrument_imports(include=READERS):
    from tests.faults.decoding import ARGUMENTS
    from tests.faults.properties import TARGETS


def main() -> None:
    """Fuzz a target until so many runs, or seconds, are over."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=0, help="0 is without a limit")
    parser.add_argument("--folder", type=Path, default=Path(), help="where breaking input is kept")
    chosen = parser.parse_args()
    options = [
        f"-runs={chosen.runs}",
        f"-seed={SEED}",
        f"-max_total_time={chosen.seconds}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={chosen.folder}/",
        "-timeout=20",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    check = TARGETS[chosen.target].hypothesis.inner_test  # type: ignore[attr-defined]
    arguments = ARGUMENTS[chosen.target]
    atheris.Setup(
        [sys.argv[0], *options],
        lambda content: check(**arguments(atheris.FuzzedDataProvider(content))),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
