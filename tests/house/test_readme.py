"""The README followed to the letter: its first screen, and the five minutes after the demo."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatchcase

import pytest

from tests.support import ROOT, Cli, Database, in_process
from tests.support.terminals import on_terminal

DEMO = (ROOT / "examples" / "demo.sh").read_text()
README = (ROOT / "README.md").read_text()
pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
ENDLESS = ("shell", "run")
"""Commands that wait for a user; tests/console and tests/web run them."""


@pytest.fixture
def empty_cli(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run commands against a database that is not initialised."""
    monkeypatch.setenv("COLUMNS", "100")
    return in_process(empty_database, monkeypatch)


def block_after(line: str) -> str:
    """The first console block after this line of the README."""
    return README.partition(line)[2].partition("```console\n")[2].partition("```")[0]


def test_first_screen_prints_its_output(empty_cli: Cli, empty_database: Database) -> None:
    """Each example is word for word that of a terminal with 80 columns."""
    for line in re.findall(r"^\$ opsapp (.+)$", block_after("# opsapp"), re.M):
        empty_cli(*shlex.split(line, comments=True), check=True)
    examples = [
        text.partition("\n")
        for text in block_after("Five commands, with their output at 80 columns:").split(
            "$ opsapp "
        )[1:]
    ]
    assert len(examples) == 5
    for line, _newline, shown in examples:
        printed = on_terminal(empty_database, *shlex.split(line), columns=80, NO_COLOR="1")
        lines = printed.replace("→ flask ", "→ opsapp ").splitlines()
        pattern = shown.replace("…", "*").splitlines()
        assert len(lines) == len(pattern), (line, lines)
        assert all(map(fnmatchcase, map(str.rstrip, lines), pattern)), (line, lines)


def test_first_five_minutes_follow_the_demo(empty_cli: Cli) -> None:
    demo = re.findall(r"^show flask (.+)$", DEMO, re.M)
    block = block_after("## The first five minutes")
    typed = re.findall(r"^\$ flask (.+)$", block, re.M)
    assert (len(demo), len(typed)) == (7, 11)
    for line in (*demo, *demo, *typed):
        words = shlex.split(line, comments=True)
        if words[0] not in ENDLESS:
            done = empty_cli(*words)
            assert done.exit_code == 0, (line, done.stderr)
