"""The documents tell the truth: exit codes, commands, settings, audit actions."""

from __future__ import annotations

import re
from importlib.metadata import entry_points

import click
import pytest

from opsapp import config, errors
from support import ROOT

README = (ROOT / "README.md").read_text()
AUDIT = (ROOT / "docs" / "audit.md").read_text()


def test_readme_repeats_the_exit_codes() -> None:
    told = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.strip("├└─ ").split(None, 3)
        if len(words) == 4 and words[1].isdigit() and words[2].isdigit():
            drawn[words[1]] = words[3]
    assert {code: says for code, says in told.items() if code in drawn} == drawn
    assert set(told) - set(drawn) == {"0", "6"}


@pytest.mark.parametrize("group", ["db", "users", "roles", "audit", "mail", "profile"])
def test_readme_names_every_command_of_a_group(group: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `flask {group}`"))
    command = next(e for e in entry_points(group="flask.commands") if e.name == group).load().target
    assert isinstance(command, click.Group)
    assert [name for name in command.commands if f"`{name}`" not in row] == []


def test_audit_page_names_every_action() -> None:
    written = set()
    for path in sorted(ROOT.glob("opsapp/services/*.py")):
        for found in re.findall(r'"((?:user|role|database|audit):\w+:\w+)"', path.read_text()):
            written.add(found)
    assert [action for action in sorted(written) if f"`{action}`" not in AUDIT] == []
    assert len(written) > 10


def test_every_setting_has_a_meaning() -> None:
    assert [s.name for s in config.SETTINGS if not s.meaning.endswith(".")] == []


def test_documents_link_to_files_that_are_there() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), (page, link)
