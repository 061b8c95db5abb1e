"""Bulk transfer of accounts: ``python -m bench.transfer [--postgresql] [--django] [--rows N]``.

An import checks each address, looks for conflicts and writes the audit; an export has the
live roles. They run in turns with what a person would write instead, and CPU time counts: on
PostgreSQL that of the server too. From each figure the cost of the same program on a file
without rows is taken off.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from time import sleep

from .installation import Installation, postgresql, postgresql_server, sqlite, workspace
from .measure import ROOT, Cost, Program, Row, compile_everything, environ, once, say, show

MIB = 2**20
MEMORY = 60
"""The most MiB above the peak of a command that lists one account."""
SLOWER = 10
"""The peers that validate get so many times fewer rows."""
REAPED = 0.5
"""Seconds until the server knows of a process of its own that has ended."""
HASHED = 60
BUSY = 0.9


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.transfer", description=__doc__)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    parser.add_argument("--django", action="store_true", help="also against Django, from PyPI")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of a file")
    parser.add_argument("--rounds", type=int, default=3, help="pairs for each ratio")
    options = parser.parse_args()
    compile_everything()
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        make = stack.enter_context(_installations(folder, options.postgresql))
        bench = _Bench(folder, make, options.rows, options.rounds, options.postgresql)
        rows = [*bench.importing(), *bench.exporting()]
        if not options.postgresql:
            rows += bench.validating(_python_with_django(folder) if options.django else None)
            rows += bench.hashing()
    database = "PostgreSQL" if options.postgresql else "SQLite"
    return show(f"{options.rows:,} accounts by the file on {database}", rows)


@contextmanager
def _installations(folder: Path, on_postgresql: bool) -> Iterator[Callable[[], Installation]]:
    """Give a function that makes a new installation."""
    numbers = count()
    if not on_postgresql:
        yield lambda: sqlite(folder, f"i{next(numbers)}")
        return
    with postgresql_server(folder) as server:
        yield lambda: postgresql(server, folder, f"i{next(numbers)}")


def _python_with_django(folder: Path) -> str:
    say("installing Django …")
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "django"]
    subprocess.run(pip, check=True, env=environ())
    return python


@dataclass(frozen=True, slots=True)
class _Bench:
    """The files of a run, and the programs on them."""

    folder: Path
    make: Callable[[], Installation]
    rows: int
    rounds: int
    on_postgresql: bool

    def file(self, rows: int, *, passwords: bool = False) -> str:
        """The name of a csv of so many accounts."""
        path = self.folder / f"{rows}{'p' * passwords}.csv"
        if not path.exists():
            with path.open("w") as lines:
                lines.write(f"email,username{',password' * passwords}\n")
                for n in range(rows):
                    words = f",correct horse battery {n}" if passwords else ""
                    lines.write(f"user{n}@host{n % 50}.example.com,name{n}{words}\n")
        return str(path)

    def ours(self, *args: str) -> Callable[[str], Cost]:
        """Return a function that imports a file into a new installation."""
        return lambda file: self.once(self.make().flask("users", "import", file, *args))

    def peer(self, name: str, *, python: str = sys.executable) -> Callable[[str], Cost]:
        """Return a function that runs a peer on a file and a new database."""
        numbers = count()

        def run(file: str) -> Cost:
            if name in ("executemany", "copy"):
                database = self.make().url
            else:
                database = str(self.folder / f"{name}{next(numbers)}.sqlite")
            return self.once(self._peer(name, database, file, python))

        return run

    def once(self, program: Program) -> Cost:
        """Run a program; its CPU has that of the server's processes for it."""
        before = self._server()
        cost = once(program)
        if self.on_postgresql:
            sleep(REAPED)
        return replace(cost, cpu=cost.cpu + self._server() - before)

    def _server(self) -> float:
        """Return the CPU seconds of the server's processes that have ended."""
        if not self.on_postgresql:
            return 0.0
        pid = (self.folder / "postgresql" / "postmaster.pid").read_text().split()[0]
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def _peer(self, name: str, database: str, file: str, python: str = sys.executable) -> Program:
        argv = (python, "-m", "bench.transfer_peers", name, database, file)
        return Program(argv=argv, env=environ(PYTHONPATH=str(ROOT)), cwd=self.folder)

    # --- the figures -------------------------------------------------------------

    def importing(self) -> Iterator[Row]:
        """An import beside the driver alone, and its memory."""
        name, least = ("copy", 0.25) if self.on_postgresql else ("executemany", 0.35)
        say(f"import beside {name} …")
        costs, peer_costs = self._in_turns(self.ours(), self.peer(name), self.rows, self.rows)
        yield self._speed(f"import : {name}", costs, peer_costs, least)
        yield self._memory("import", costs[-1].peak)

    def exporting(self) -> Iterator[Row]:
        """An export beside the driver alone, and its memory."""
        say("export beside a cursor …")
        full, empty = self.make(), self.make()
        once(full.flask("users", "import", self.file(self.rows)))
        costs_of_ours: list[Cost] = []
        peer_costs: list[Cost] = []
        for _round in range(self.rounds):
            for costs, run in ((costs_of_ours, self._export), (peer_costs, self._cursor)):
                costs.append(_less(run(full), run(empty)))
        yield self._speed("export : cursor into csv.writer", costs_of_ours, peer_costs, 0.5)
        yield self._memory("export", costs_of_ours[-1].peak)

    def _export(self, installation: Installation) -> Cost:
        return self.once(installation.flask("users", "export", str(self.folder / "out.csv")))

    def _cursor(self, installation: Installation) -> Cost:
        return self.once(self._peer("cursor", installation.url, str(self.folder / "out.csv")))

    def validating(self, django: str | None) -> Iterator[Row]:
        """An import beside those that check the accounts too."""
        few = self.rows // SLOWER
        peers = [("flask-security", sys.executable, 10.0)]
        peers += [("django", django, 3.0)] if django else []
        for name, python, least in peers:
            say(f"import beside {name} …")
            peer = self.peer(name, python=python)
            costs, peer_costs = self._in_turns(self.ours(), peer, self.rows, few)
            yield self._speed(f"import : {name}", costs, peer_costs, least, SLOWER)

    def hashing(self) -> Iterator[Row]:
        """The share of the cores that hashing keeps busy."""
        say("hashing …")
        run = self.ours("--hash-passwords")
        empty = run(self.file(0, passwords=True))
        cost = _less(run(self.file(HASHED, passwords=True)), empty)
        share = cost.cpu / cost.wall / len(os.sched_getaffinity(0))
        figure = f"{share:.0%} ({cost.cpu:.1f} s CPU in {cost.wall:.1f} s)"
        yield Row(f"cores busy with {HASHED} passwords", figure, f"≥ {BUSY:.0%}", share >= BUSY)

    def _in_turns(
        self, a: Callable[[str], Cost], b: Callable[[str], Cost], rows_a: int, rows_b: int
    ) -> tuple[list[Cost], list[Cost]]:
        """Run both in turns; their costs without those of a file that has no rows."""
        costs: tuple[list[Cost], list[Cost]] = ([], [])
        empty = a(self.file(0)), b(self.file(0))
        for number in range(self.rounds):
            turns = [(0, a, rows_a), (1, b, rows_b)]
            for which, run, rows in turns if number % 2 == 0 else reversed(turns):
                costs[which].append(_less(run(self.file(rows)), empty[which]))
        return costs

    def _speed(
        self, what: str, costs: list[Cost], peer_costs: list[Cost], least: float, fewer: int = 1
    ) -> Row:
        """Ours in rows for each second, as a multiple of theirs."""
        ratio = median(
            their.cpu * fewer / our.cpu for our, their in zip(costs, peer_costs, strict=True)
        )
        a = median(cost.cpu for cost in costs) / self.rows * 1e6
        b = median(cost.cpu for cost in peer_costs) * fewer / self.rows * 1e6
        figure = f"{ratio:.2f} ({a:.1f} : {b:.1f} µs a row)"
        return Row(what, figure, f"≥ {least:g}", ratio >= least)

    def _memory(self, what: str, peak: int) -> Row:
        empty = once(self.make().flask("users", "list", "--limit", "1")).peak
        more = (peak - empty) / MIB
        figure = f"{more:.0f} MiB ({peak / MIB:.0f} : {empty / MIB:.0f})"
        return Row(f"memory of an {what} : of a listing", figure, f"≤ {MEMORY} MiB", more <= MEMORY)


def _less(cost: Cost, empty: Cost) -> Cost:
    return replace(cost, cpu=cost.cpu - empty.cpu, wall=cost.wall - empty.wall)


if __name__ == "__main__":
    sys.exit(main())
