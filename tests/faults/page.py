"""docs/reliability.md, written from the counts of a run: python -m tests.faults.page TALLY CODE TESTS…

CODE is the exit code of the run; the page of a run that failed says so first. TESTS are the files
that ran. With some of the files, the counts of the page stay, and those of the run are added.
"""

from __future__ import annotations

import json
import platform
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.faults.amounts import IS_LONG, MINUTES, PART, SEED
from tests.faults.servers import programs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
MUTANTS = Path(__file__).resolve().parents[1] / "mutants" / "results.json"
Line = tuple[str, str, str, str, float]
"""A line of the tally: chapter, trial, database, outcome and number."""
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "": "–"}

INTRODUCTION = """\
# Reliability

The faults that opsapp was subjected to, how often, and the outcome. `make faults` runs the trials of `tests/faults/` at full
length and writes this page from their counts. `make test` runs a part of them. A trial that breaks a promise fails the
run. A trial is counted when it ends, also in a run that fails or is ended later. The promises:

- A change and its audit event are both there or both absent, and so is each part of a transaction.
- A change that was acknowledged (exit 0) stays.
- The chain verifies, and the tables are what its events tell. A reader that shares no code with opsapp checks both.
- An administrator is left.
- The next command works, without a repair by hand.
- A command that fails says so in one line, with an exit code of the contract.

*Old state* means that nothing was written, *new state* that all was. *Doubt* is a lost answer to COMMIT: the command exits 1
and names the command that resolves it. Not tried are a loss of power (a killed process leaves the page cache), network
file systems, and other databases.
"""

CHAPTERS = {
    "Kill at a random moment": "SIGKILL, in a random moment of the command or process.",
    "Kill at a system call": "SIGKILL at the N-th call that changes or locks a file, or talks to the"
    " server, for N = 1, 2, … until the command passes.",
    "Kill at a statement": "SIGKILL before or after the N-th statement.",
    "Failing system call (EIO)": "The N-th such call fails with EIO.",
    "Failing system call (ENOSPC)": "The N-th such call fails with ENOSPC, as on a full disk.",
    "Failing system call (EINTR)": "The N-th such call is interrupted.",
    "Failing system call (ECONNRESET)": "The N-th attempt to connect or to receive fails.",
    "Races": "Eight processes at once.",
    "Outages": "Commands, a process, imports, jobs, a shell and requests change accounts while the server goes"
    " away and comes back. `COMMIT lost` is a connection that breaks as it carries COMMIT or its answer.",
    "Resources": "The command has no room, no memory, no files, or no place to write to.",
    "Hostile input": "Generated and damaged input: it is read, or refused in one harmless line. The fuzzer is guided"
    " by coverage (atheris), with 512 MiB of memory.",
    "Secrets": "Passwords, hashes and keys are looked for in all that leaves the process.",
    "Tampering": "The owner of the tables edits the audit log; `flask audit verify` looks.",
    "Roles of PostgreSQL": "A role tries what `opsapp/database/roles.sql` denies it.",
}


def written(lines: list[str]) -> str:
    """Return the page for these lines of a tally."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    failed: list[str] = []
    runs: list[tuple[str, str, int]] = []
    notes: list[str] = []
    waits: dict[str, tuple[int, float]] = {}
    for line in lines:
        chapter, trial, database, outcome, number = json.loads(line)
        if chapter == "Waiting":
            times, slowest = waits.get(database, (0, 0))
            waits[database] = (times + _number(outcome), max(slowest, number))
        elif chapter == "Note":
            notes.append(f"{trial}\n")
        elif chapter == "Failed":
            failed.append(trial)
        elif chapter == "Run":
            runs.append((trial, outcome, number))
        else:
            counts[chapter, trial, NAMES.get(database, database), outcome] += number
    parts = [INTRODUCTION, _failures(failed, runs), _versions(), _amounts(runs)]
    parts += [*notes, _waits(waits)]
    parts += [_chapter(name, text, counts) for name, text in CHAPTERS.items()]
    parts.append(mutants())
    return "\n".join(part for part in parts if part)


def counts_of(page: str) -> list[str]:
    """Return the lines of a tally of which :func:`written` makes this page."""
    head, *chapters = page.split("\n## ")
    beginning, _last, runs = head.partition("\nLast run: ")
    failures = re.findall(r"^\*\*This (run failed.+)$", beginning, re.MULTILINE)
    lines: list[Line] = [("Note", f"**An earlier {text}", "", "", 0) for text in failures]
    _versions, *paragraphs = runs.split("\n\n")
    for paragraph in filter(None, map(str.strip, paragraphs)):
        lines += _lines_of(paragraph)
    for chapter in chapters:
        name = chapter.partition("\n")[0]
        rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \| ([\d,]+) \|$", chapter, re.MULTILINE)
        lines += [(name, *row, _number(times)) for *row, times in rows if name in CHAPTERS]
    return [json.dumps(line) for line in lines]


def _lines_of(paragraph: str) -> list[Line]:
    if paragraph.startswith("- "):
        runs = (run.removeprefix("- ").split(": ", 1) for run in paragraph.splitlines())
        return [("Run", files, "", amount, 0) for files, amount in runs]
    if paragraph.startswith("Commands that followed"):
        waits = re.findall(r"([\d,]+) on (\w+) \(the slowest took ([\d.]+) s", paragraph)
        return [("Waiting", "", database, times, float(most)) for times, database, most in waits]
    return [("Note", paragraph, "", "", 0)]


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _failures(failed: list[str], runs: list[tuple[str, str, int]]) -> str:
    codes = [str(code) for _files, _amount, code in runs if code]
    if not codes:
        return ""
    tests = ", ".join(f"`{test}`" for test in sorted(set(failed))) or "none reached its end"
    return f"**This run failed** (pytest exited {', '.join(codes)}). Tests with a broken promise: {tests}.\n"


def _versions() -> str:
    postgres = subprocess.run(
        [programs() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    words = [
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        postgres.stdout.strip().replace("postgres (PostgreSQL)", "PostgreSQL"),
        *(f"{name} {version(name)}" for name in ("SQLAlchemy", "psycopg", "Flask", "opsapp")),
        f"{platform.system()} {platform.release()}",
    ]
    return f"Last run: {datetime.now(UTC):%Y-%m-%d}, on {', '.join(words)}.\n"


def _amounts(runs: list[tuple[str, str, int]]) -> str:
    return "\n".join(f"- {files}: {amount}" for files, amount, _code in runs) + "\n"


def _this_run(code: int, tests: list[str]) -> str:
    files = ", ".join(f"`{test}`" for test in tests)
    amount = f"{PART:.0%} of the long form" if IS_LONG else "a short run, not the long form"
    amount += f", in {MINUTES:g} minutes" if MINUTES else ""
    return json.dumps(["Run", files, "", f"{amount}, seed {SEED}", code])


def _waits(waits: dict[str, tuple[int, float]]) -> str:
    parts = [
        f"{times:,} on {database} (the slowest took {slowest:.1f} s)"
        for database, (times, slowest) in sorted(waits.items())
    ]
    if not parts:
        return ""
    return f"Commands that followed a fault, none of which failed: {', '.join(parts)}.\n"


def _chapter(name: str, text: str, counts: Counter[tuple[str, str, str, str]]) -> str:
    rows = sorted((key[1:], int(number)) for key, number in counts.items() if key[0] == name)
    if not rows:
        return ""
    lines = [
        f"## {name}",
        "",
        text,
        "",
        "| trial | database | outcome | times |",
        "| --- | --- | --- | ---: |",
    ]
    for (trial, database, outcome), number in rows:
        lines.append(f"| {trial} | {database} | {outcome} | {number:,} |")
    return "\n".join(lines) + "\n"


def mutants() -> str:
    """Return the chapter of the mutation tests, which `make mutants` counts."""
    results = json.loads(MUTANTS.read_text())
    files = results["files"]
    total = {name: sum(counts[name] for counts in files.values()) for name in COLUMNS}
    lines = [
        "## Mutation tests",
        "",
        f"mutmut {results['mutmut']} changed these files in one place at a time ({results['date']}), and ran the tests of the",
        "changed function. A mutant is killed if a test fails or does not end. Equivalent mutants behave as the original does:",
        "`tests/mutants/equivalent.toml` has the reasons. Decorated functions, such as context managers and properties, are left",
        "out by the tool. The same tests take every branch of the files, those functions included (`make coverage`). Mutants that",
        "were not tried are of a run that was ended early.",
        "",
        f"| file | {' | '.join(COLUMNS)} |",
        f"| --- {'| ---: ' * len(COLUMNS)}|",
    ]
    for path, counts in [*files.items(), ("all", total)]:
        lines.append(f"| {path} | {' | '.join(f'{counts[name]:,}' for name in COLUMNS)} |")
    return "\n".join(lines) + "\n"


COLUMNS = ("mutants", "killed", "equivalent", "survived", "not tried")


def main(tally: Path, code: int, tests: list[str]) -> None:
    """Write the page, and remove the tally, whose counts are on the page from then on."""
    earlier = [] if tests == ["tests/faults"] else counts_of(PAGE.read_text())
    lines = tally.read_text().splitlines() if tally.exists() else []
    PAGE.write_text(written([*earlier, *lines, _this_run(code, tests)]))
    tally.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
