"""The cost of `flask jobs run`, and of `flask jobs list` over a long history.

``python -m bench.jobs [--postgresql]``. Run by ``jobs run``, a command of ours and a
program are compared with the same alone: beyond it there may be one cold start of the app,
measured as `flask jobs schedule NAME` and `flask roles list`, plus 50 ms. The listing runs on
1,000,000 runs of ten jobs in turns with the listing on 1,000.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from .installation import (
    Installation,
    add_runs,
    postgresql,
    postgresql_server,
    sqlite,
    workspace,
)
from .measure import Cost, Program, Row, at_most, compile_everything, once, pairs, say, show

SMALL, LARGE = 1_000, 1_000_000
LIMIT = 1.2
BEYOND = 50
"""Milliseconds that a run may take beyond the command's own and a cold start."""


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.jobs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="of each measurement")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    options = parser.parse_args()
    compile_everything()
    with workspace() as folder:
        if not options.postgresql:
            installations = [sqlite(folder, name) for name in ("small", "large")]
            return _measure("SQLite", *installations, options.rounds)
        with postgresql_server(folder) as server:
            installations = [postgresql(server, folder, name) for name in ("small", "large")]
            return _measure("PostgreSQL", *installations, options.rounds)


def _measure(database: str, small: Installation, large: Installation, rounds: int) -> int:
    rows = [*_overhead(small, rounds)]
    for installation, count in ((small, SMALL), (large, LARGE)):
        started = perf_counter()
        add_runs(installation, count)
        say(f"{database}: {count:,} runs in {perf_counter() - started:.0f} s")
    rows += [
        _listing(database, words, small, large, rounds)
        for words in (("list",), ("history",), ("check",))
    ]
    return show(f"{database}: flask jobs, medians of {rounds} rounds", rows)


# --- what a run adds ---------------------------------------------------------


def _overhead(installed: Installation, rounds: int) -> list[Row]:
    start = installed.flask("roles", "list")
    commands = {
        "true": installed.program("/bin/true"),
        "flask roles list": start,
    }
    rows = []
    for name, alone in commands.items():
        say(f"jobs run -- {name} …")
        run = installed.flask("jobs", "run", "bench", "--", *alone.argv)
        rows.append(_beyond(name, run, alone, start, rounds))
    return rows


def _beyond(name: str, run: Program, alone: Program, start: Program, rounds: int) -> Row:
    """The median over rounds in which the three ran one after the other."""
    programs = (run, alone, start)
    for program in programs:
        once(program)
    costs: list[tuple[Cost, ...]] = []
    for number in range(rounds):
        order = programs if number % 2 == 0 else programs[::-1]
        took = {id(program): once(program) for program in order}
        costs.append(tuple(took[id(program)] for program in programs))
    beyond = median(run.wall - alone.wall - cold.wall for run, alone, cold in costs) * 1000
    run_ms, alone_ms, cold_ms = (median(row[i].wall for row in costs) * 1000 for i in range(3))
    detail = f" ({run_ms:.0f} - {alone_ms:.0f} - {cold_ms:.0f} ms)"
    return Row(
        f"jobs run -- {name}, beyond it and a cold start",
        f"{beyond:.0f} ms{detail}",
        f"≤ {BEYOND} ms",
        beyond <= BEYOND,
    )


# --- a long history ----------------------------------------------------------


def _listing(
    database: str, words: tuple[str, ...], small: Installation, large: Installation, rounds: int
) -> Row:
    what = f"jobs {' '.join(words)}, {LARGE:,} : {SMALL:,} runs"
    say(f"{database}: {what} …")
    # The history fails on purpose now and then, and check says so.
    ends = 6 if words == ("check",) else 0
    pair = pairs(
        *(_ends(installation.flask("jobs", *words), ends) for installation in (large, small)),
        rounds,
    )
    ratio = pair.cpu if database == "SQLite" else pair.wall
    detail = f" ({pair.a.wall * 1000:.0f} : {pair.b.wall * 1000:.0f} ms)"
    if words != ("list",):
        return Row(what, f"{ratio:.2f}{detail}")
    return at_most(what, ratio, LIMIT, detail)


def _ends(program: Program, exit_code: int) -> Program:
    return Program(argv=program.argv, env=program.env, cwd=Path(program.cwd), exit_code=exit_code)


if __name__ == "__main__":
    sys.exit(main())
