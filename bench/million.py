"""A million accounts beside a thousand: ``python -m bench.million [--postgresql]``.

Every listing runs as a whole command on 1,000,000 accounts, in turns with the
plain ``flask users list --limit 50`` on 1,000. On SQLite the ratio is of CPU
time, since the database works inside the command; on PostgreSQL it is of elapsed
time, since the database works in its own process.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from .installation import (
    Installation,
    add_accounts,
    postgresql,
    postgresql_server,
    sqlite,
    workspace,
)
from .measure import Row, at_most, compile_everything, pairs, say, show

SMALL, LARGE = 1_000, 1_000_000
LIMIT = 1.1
"""The limit for the plain first page: the large database against the small one."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing to measure."""

    args: str
    limit: float | None = None
    """The target, where there is one: the others are printed to be looked at."""
    rounds: int = 1
    """So many times the rounds of the others: near the target, noise must not decide."""


DEEP = f"--after {LARGE * 9 // 10}"

LISTINGS = (
    Listing("", LIMIT, rounds=3),
    Listing("--descending"),
    Listing(DEEP),
    *(
        Listing(f"--sort {sort}{more}")
        for sort in ("email", "created", "seen")
        for more in ("", " --descending", f" {DEEP}")
    ),
    Listing("--role admin"),
    Listing("--role auditor"),
    Listing("--role editor"),
    Listing(f"--role auditor {DEEP}"),
    Listing("--role auditor --sort email"),
    Listing("--role editor --sort email"),
    Listing("--without-role editor"),
    Listing("--status active"),
    Listing("--status inactive"),
    Listing("--status locked"),
    Listing("--status deleted"),
    Listing("--idle-for 90d"),
    Listing("--idle-for 1080d"),
    Listing("--idle-for 90d --sort seen"),
    Listing("--never-logged-in"),
    Listing("--created-since 7d"),
    Listing("--search u500000"),
    Listing("--count"),
    Listing("--count --status active"),
    Listing("--count --role editor"),
    Listing("--count --idle-for 90d"),
)


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.million", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs for each ratio")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    options = parser.parse_args()
    compile_everything()
    with workspace() as folder:
        if not options.postgresql:
            installations = [sqlite(folder, name) for name in ("small", "large")]
            return _measure("SQLite", installations, options.rounds)
        with postgresql_server(folder) as server:
            installations = [postgresql(server, folder, name) for name in ("small", "large")]
            return _measure("PostgreSQL", installations, options.rounds)


def _measure(database: str, installations: Sequence[Installation], rounds: int) -> int:
    small, large = installations
    for installation, count in ((small, SMALL), (large, LARGE)):
        started = perf_counter()
        add_accounts(installation, count)
        say(f"{database}: {count:,} accounts in {perf_counter() - started:.0f} s")
    rows = [_row(database, listing, small, large, rounds) for listing in LISTINGS]
    title = f"{database}: users list on {LARGE:,} accounts : --limit 50 on {SMALL:,}"
    return show(f"{title}, medians of {rounds} pairs", rows)


def _row(
    database: str, listing: Listing, small: Installation, large: Installation, rounds: int
) -> Row:
    say(f"{database}: users list {listing.args} …")
    baseline = small.flask("users", "list", "--limit", "50")
    measured = large.flask("users", "list", "--limit", "50", *listing.args.split())
    pair = pairs(measured, baseline, rounds * listing.rounds)
    ratio = pair.cpu if database == "SQLite" else pair.wall
    detail = f" ({pair.a.cpu * 1000:.0f} ms CPU, {pair.a.wall * 1000:.0f} ms)"
    what = listing.args or "--limit 50"
    if listing.limit is None:
        return Row(what, f"{ratio:.2f}{detail}")
    return at_most(what, ratio, listing.limit, detail)


if __name__ == "__main__":
    sys.exit(main())
