"""The speed of reading and writing the audit: ``python -m bench.audit [--postgresql]``.

Verifying has to be quick and its memory flat, so that a host can do it every night;
eight processes that write at once must not lose a unit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import perf_counter

from .installation import Installation, postgresql, postgresql_server, sqlite, workspace
from .measure import (
    ROOT,
    Cost,
    Program,
    Row,
    at_most,
    compile_everything,
    middle,
    once,
    pairs,
    say,
    show,
)

FEW, MANY = 100_000, 1_000_000
EVENTS_A_SECOND = 50_000
"""The target of verifying, in events for each second of CPU."""
STATE_SECONDS = 60
GROWTH = 1.1
"""The limit of memory for ten times the events, as a ratio."""
MB = 1_000_000


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.audit", description=__doc__)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each verification")
    parser.add_argument("--processes", type=int, default=8, help="that write at once")
    parser.add_argument("--units", type=int, default=300, help="that each of them commits")
    options = parser.parse_args()
    compile_everything()
    database = "PostgreSQL" if options.postgresql else "SQLite"
    with _installations(options.postgresql) as (few, many, racing):
        rows = [
            *_verifying(few, many, options.rounds),
            *_listing(few, many, options.rounds),
            *_writing(racing, options.processes, options.units),
        ]
    return show(f"The audit on {database}", rows)


@contextmanager
def _installations(on_postgresql: bool) -> Iterator[list[Installation]]:
    names = ("few", "many", "racing")
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        if not on_postgresql:
            yield [sqlite(folder, name) for name in names]
            return
        server = stack.enter_context(postgresql_server(folder))
        yield [postgresql(server, folder, name) for name in names]


def _worker(installation: Installation, verb: str, count: int) -> Program:
    argv = (sys.executable, "-m", "bench.workers", verb, str(count))
    program = installation.program(*argv)
    return replace(program, env={**program.env, "PYTHONPATH": str(ROOT)})


# --- reading -----------------------------------------------------------------


def _verifying(few: Installation, many: Installation, rounds: int) -> list[Row]:
    rows = []
    peaks = []
    for installation, count in ((few, FEW), (many, MANY)):
        seconds = _fill(installation, count)
        say(f"audit verify of {count:,} events …")
        # None of it is subtracted: the start of the command is in these seconds too.
        program = installation.flask("audit", "verify", "--format", "json")
        cost = middle([once(program) for _ in range(rounds)])
        compare = installation.flask("audit", "verify", "--state", "--format", "json")
        compared = middle([once(compare) for _ in range(rounds)])
        _events_of(compared)
        rate = _events_of(cost) / cost.cpu
        peaks.append(cost.peak)
        rows += [
            Row(f"append {count:,} events, batched", f"{count / seconds:,.0f} events/s"),
            Row(
                f"audit verify, {count:,} events",
                f"{rate:,.0f} events/s ({cost.cpu:.1f} s CPU, {cost.wall:.1f} s)",
                f"≥ {EVENTS_A_SECOND:,}/s",
                rate >= EVENTS_A_SECOND,
            ),
            Row(
                f"audit verify --state, {count // 10:,} accounts",
                f"{compared.wall:.1f} s, {compared.peak / MB:.0f} MB",
                f"≤ {STATE_SECONDS} s",
                compared.wall <= STATE_SECONDS,
            ),
        ]
    growth = peaks[1] / peaks[0]
    figure = f"{growth:.2f} ({peaks[1] / MB:.0f} : {peaks[0] / MB:.0f} MB)"
    rows.append(Row("its memory, 1,000,000 : 100,000", figure, f"≤ {GROWTH}", growth <= GROWTH))
    return rows


def _listing(few: Installation, many: Installation, rounds: int) -> list[Row]:
    """Compare pages of the large audit with the first one of the small."""
    rows = []
    baseline = few.flask("audit", "list")
    for args in ("", f"--before {MANY // 2}", "--action user:account:create", "--subject 5"):
        say(f"audit list {args} …")
        pair = pairs(many.flask("audit", "list", *args.split()), baseline, rounds)
        detail = f" ({pair.a.cpu * 1000:.0f} ms CPU)"
        rows.append(at_most(f"audit list {args}", pair.cpu, GROWTH, detail))
    return rows


def _fill(installation: Installation, count: int) -> float:
    """Append ``count`` events; the seconds it took."""
    say(f"appending {count:,} events …")
    return once(_worker(installation, "append", count)).wall


# --- writing -----------------------------------------------------------------


def _writing(installation: Installation, processes: int, units: int) -> list[Row]:
    say(f"{processes} processes, {units} units each …")
    before = _events(installation)
    start = once(_worker(installation, "units", 0)).wall
    alone = once(_worker(installation, "units", units)).wall - start
    together, costs = _at_once(_worker(installation, "units", units), processes)
    together -= _at_once(_worker(installation, "units", 0), processes)[0]
    failed = sum(int(cost.stdout.splitlines()[-1]) for cost in costs)
    losses = (processes + 1) * units - failed - (_events(installation) - before)
    rate = processes * units / together
    return [
        Row("units of work, one process", f"{units / alone:,.0f} units/s"),
        Row(f"units of work, {processes} processes", f"{rate:,.0f} units/s together"),
        Row("of those failed", str(failed), "0", failed == 0),
        Row("of those lost, by the chain", str(losses), "0", losses == 0),
    ]


def _at_once(program: Program, processes: int) -> tuple[float, list[Cost]]:
    """Run a program in several processes: seconds until the last has ended, and their costs."""
    started = perf_counter()
    with ThreadPoolExecutor(processes) as pool:
        costs = list(pool.map(once, [program] * processes))
    return perf_counter() - started, costs


def _events(installation: Installation) -> int:
    """Return the number of events in the chain.

    :raises RuntimeError: it does not hold.
    """
    return _events_of(once(installation.flask("audit", "verify", "--format", "json")))


def _events_of(cost: Cost) -> int:
    report = json.loads(cost.stdout)
    if not report["ok"]:
        raise RuntimeError(f"the chain does not hold: {report['says']}")
    return int(report["events"])


if __name__ == "__main__":
    sys.exit(main())
