"""The README followed to the letter: its first five minutes come after the demo."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.support import ROOT, Database, in_process

DEMO = (ROOT / "examples" / "demo.sh").read_text()
README = (ROOT / "README.md").read_text()
ENDLESS = ("shell", "run")
"""What somebody sits before; tests/console and tests/web do."""


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_first_five_minutes_follow_the_demo(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = in_process(empty_database, monkeypatch)
    shown = re.findall(r"^show flask (.+)$", DEMO, re.M)
    block = README.partition("## The first five minutes")[2].partition("```console")[2]
    typed = re.findall(r"^\$ flask (.+)$", block.partition("```")[0], re.M)
    assert (len(shown), len(typed)) == (7, 11)
    for line in (*shown, *shown, *typed):
        words = shlex.split(line, comments=True)
        if words[0] not in ENDLESS:
            done = cli(*words)
            assert done.exit_code == 0, (line, done.stderr)
