"""Mutation tests: python -m tests.mutants, which takes the arguments of ``mutmut run``.

mutmut makes each mutant of the files that pyproject.toml names, in a copy of the checkout, and runs
the tests of the changed function. The counts go to results.json. A mutant that survives is a fault
of the tests, unless equivalent.toml has the reason why it behaves as the original does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from tests.support.postgres import memory, running_postgres

FOLDER = Path(__file__).parent
OUTCOMES = {
    "killed": "killed",
    "timeout": "killed",
    "segfault": "killed",
    "not checked": "not tried",
    "check was interrupted by user": "not tried",
}
"""The outcome for each of mutmut's words; with any other, the mutant survived."""


class Change(NamedTuple):
    """The lines that a mutant changes. Its number would change with the function."""

    file: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        lines = (
            f"{name} = {json.dumps(words, ensure_ascii=False)}"
            for name, words in self._asdict().items()
        )
        return "\n".join(["[[mutant]]", *lines])


class Mutant(NamedTuple):
    """A mutant with its outcome; the change of one that a test killed is not read."""

    file: str
    outcome: str
    change: Change | None


def main() -> int:
    """Run mutmut and write the counts; return 1 if a survivor is not listed.

    A listed one that was killed is only named: on a busy machine a test may fail for other reasons.
    """
    _run_mutmut(sys.argv[1:])
    listed = _listed()
    mutants = [_compared(mutant, listed) for mutant in _mutants()]
    _write(mutants)
    survivors = [mutant.change for mutant in mutants if mutant.outcome == "survived"]
    stale = listed - {mutant.change for mutant in mutants}
    for title, changes in (("It survived", survivors), ("It is listed, and was killed", stale)):
        for change in changes:
            sys.stdout.write(f"# {title}\n{change}\n\n")
    return 1 if survivors else 0


def _run_mutmut(arguments: Iterable[str]) -> None:
    """Run it with a server that all mutants share: one that hangs is killed, and stops none."""
    with TemporaryDirectory(dir=memory()) as folder, running_postgres() as url:
        subprocess.run(
            [Path(sys.executable).with_name("mutmut"), "run", *arguments],
            env={**os.environ, "OPSAPP_TESTS_POSTGRES": url, "TMPDIR": folder},
            check=True,
        )


def _listed() -> set[Change]:
    """Return the changes of the equivalent mutants, each of which has a reason."""
    entries = tomllib.loads((FOLDER / "equivalent.toml").read_text())["mutant"]
    assert all(entry.pop("reason") for entry in entries)
    return {Change(**entry) for entry in entries}


def _mutants() -> Iterator[Mutant]:
    for path in sorted(walk_mutatable_files()):
        stored = SourceFileMutationData(path=path)
        stored.load()
        for name, code in stored.exit_code_by_key.items():
            status = status_by_exit_code[code]
            change = None if status == "killed" else _change(str(path), name)
            yield Mutant(str(path), OUTCOMES.get(status, "survived"), change)


def _change(file: str, name: str) -> Change:
    _header, _same_header, *lines = get_diff_for_mutant(name, path=file).split("\n")
    before, after = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    function, owner = orig_function_and_class_names_from_key(name)
    return Change(file, f"{owner}.{function}" if owner else function, before, after)


def _compared(mutant: Mutant, listed: set[Change]) -> Mutant:
    """Tell an equivalent mutant; on a busy machine it may also take too long."""
    return mutant._replace(outcome="equivalent") if mutant.change in listed else mutant


def _write(mutants: list[Mutant]) -> None:
    outcomes = ("killed", "equivalent", "survived", "not tried")
    files: dict[str, dict[str, int]] = {}
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        counter = Counter(mutant.outcome for mutant in mutants if mutant.file == file)
        tried = counter.total() - counter["not tried"]
        files[file] = {"mutants": tried, **{name: counter[name] for name in outcomes}}
    results = {"mutmut": version("mutmut"), "date": f"{datetime.now(UTC):%Y-%m-%d}", "files": files}
    (FOLDER / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
