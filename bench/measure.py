"""Measure whole processes side by side: interleaved pairs, medians, and a plain table.

A machine is never quiet, and never as fast as yesterday. So A and B are run in
turns (A B B A A B …) and compared as a ratio, and the figure to trust is the CPU
time (user + system) that the kernel counted for the whole child process.
"""

from __future__ import annotations

import compileall
import gc
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
FLASK = str(Path(sys.executable).with_name("flask"))
MISSED = 6
"""The exit code of a benchmark that missed a target, as of a check with findings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program: a command line with its environment and working directory."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    exit_code: int = 0
    """The exit code it must end with: a benchmark of an error message measures nothing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one run of a program."""

    cpu: float
    """Seconds, user and system, of the process and the children it waited for."""
    wall: float
    """Seconds from start to end."""
    peak: int
    """Bytes of memory at the most (resident)."""
    stdout: bytes


@dataclass(frozen=True, slots=True)
class Pair:
    """Two programs that were run in turns: the medians of their costs."""

    a: Cost
    b: Cost
    cpu: float
    """The median of the rounds' ratios A : B of CPU time."""
    wall: float
    """The same of elapsed time."""


def environ(**settings: str) -> dict[str, str]:
    """A child's environment: nothing of the developer's settings, and bytecode is kept."""
    foreign = ("OPSAPP_", "FLASK_", "PYTHONDONTWRITEBYTECODE", "DATABASE_URL", "SECRET_KEY")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**inherited, "FLASK_SKIP_DOTENV": "1", **settings}


def compile_everything() -> None:
    """Compile the project and all it imports: without bytecode a start takes three times longer."""
    folders = {ROOT / "opsapp", ROOT / "commands", ROOT / "bench"}
    folders |= {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    for folder in sorted(folders):
        compileall.compile_dir(folder, quiet=2)
    gc.collect()


def once(program: Program) -> Cost:
    """Run a program to its end, its output in a pipe.

    :raises RuntimeError: it did not end with the exit code it must; says what it said.
    """
    started = perf_counter()
    child = subprocess.Popen(
        program.argv,
        env=program.env,
        cwd=program.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    stdout = child.stdout.read() if child.stdout else b""
    _, status, usage = os.wait4(child.pid, 0)
    wall = perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.stdout:
        child.stdout.close()
    if child.returncode != program.exit_code:
        message = stdout.decode(errors="replace")
        raise RuntimeError(f"{' '.join(program.argv)} → {child.returncode}\n{message}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, _peak(usage.ru_maxrss), stdout)


def _peak(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024  # Linux counts in KiB.


def pairs(a: Program, b: Program, rounds: int) -> Pair:
    """Run ``a`` and ``b`` in turns, ``rounds`` times each, after a run of each to warm up."""
    once(a), once(b)
    first: list[Cost] = []
    second: list[Cost] = []
    for number in range(rounds):
        # The first of the two changes, so that neither always runs on the other's heels.
        turns = [(a, first), (b, second)]
        for program, costs in turns if number % 2 == 0 else reversed(turns):
            costs.append(once(program))
    return Pair(
        middle(first),
        middle(second),
        median(run.cpu / other.cpu for run, other in zip(first, second, strict=True)),
        median(run.wall / other.wall for run, other in zip(first, second, strict=True)),
    )


def middle(costs: Sequence[Cost]) -> Cost:
    """The medians of several runs, each figure for itself."""
    return Cost(
        median(cost.cpu for cost in costs),
        median(cost.wall for cost in costs),
        int(median(cost.peak for cost in costs)),
        costs[-1].stdout,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the result: what was measured, the figure, the target, and whether it holds."""

    what: str
    figure: str
    target: str = ""
    met: bool | None = None
    """None where there is no target."""


def at_most(what: str, ratio: float, limit: float, detail: str = "") -> Row:
    """A ratio that has to stay under a limit."""
    return Row(what, f"{ratio:.2f}{detail}", f"≤ {limit:g}", ratio <= limit)


def show(title: str, rows: Sequence[Row]) -> int:
    """Print the rows as a table; the exit code of the benchmark."""
    head = Row("what", "figure", "target")
    wide = [max(len(getattr(row, name)) for row in (head, *rows)) for name in ("what", "figure")]
    lines = [f"\n{title}"]
    for row in (head, *rows):
        verdict = "" if row.met is None else "pass" if row.met else "MISS"
        cells = f"{row.what:<{wide[0]}}  {row.figure:<{wide[1]}}  {row.target:<12}  {verdict}"
        lines.append(cells.rstrip())
    sys.stdout.write("\n".join(lines) + "\n")
    return MISSED if any(row.met is False for row in rows) else 0


def say(message: str) -> None:
    """Print the current step on stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
