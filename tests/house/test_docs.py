"""The documents tell the truth: exit codes, commands, settings, audit actions."""

from __future__ import annotations

import re
from importlib.metadata import entry_points

import click
import pytest
from blinker import NamedSignal

from docs import make
from docs.pictures import PICTURES
from opsapp import errors, settings, signals
from opsapp.accounts import permissions
from opsapp.jobs import fields, runs, schedule
from opsapp.settings import HANDED_DOWN, SETTINGS
from tests.faults.page import PAGE, mutants
from tests.support import ROOT

README = (ROOT / "README.md").read_text()
AUDIT = (ROOT / "docs" / "audit.md").read_text()


def test_readme_repeats_the_exit_codes() -> None:
    told = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.strip("├└─ ").split(None, 3)
        if len(words) == 4 and words[1].isdigit() and words[2].isdigit():
            drawn.setdefault(words[1], words[3])
    assert {code: says for code, says in told.items() if code in drawn} == drawn
    assert set(told) - set(drawn) == {"0", "6"}


@pytest.mark.parametrize("group", ["db", "users", "roles", "audit", "jobs", "mail", "profile"])
def test_readme_names_every_command_of_a_group(group: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `flask {group}`"))
    command = next(e for e in entry_points(group="flask.commands") if e.name == group).load().target
    assert isinstance(command, click.Group)
    assert [name for name in command.commands if f"`{name}`" not in row] == []


@pytest.mark.parametrize("page", ["api", "cli", "settings"])
def test_generated_page_says_what_the_code_says(page: str) -> None:
    written = (ROOT / "docs" / f"{page}.md").read_text()
    assert getattr(make, f"{page}_page")() == written, "make docs writes it anew"


def test_settings_page_names_every_setting_permission_and_signal() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    sent = [name for name, value in vars(signals).items() if isinstance(value, NamedSignal)]
    names = [*(s.name for s in SETTINGS), *permissions.DECLARED, *sent]
    assert [name for name in names if f"| `{name}` | " not in page] == []
    assert len(sent) > 10
    assert "| |" not in page


def test_every_environment_variable_that_is_read_is_a_setting() -> None:
    said = {s.name for s in SETTINGS}
    named = set()
    for path in [*ROOT.glob("opsapp/**/*.py"), *ROOT.glob("commands/**/*.py")]:
        named |= set(re.findall(r'"(OPSAPP_\w+)"', path.read_text()))
    assert named == {*(name for name in said if name.startswith("OPSAPP_")), *HANDED_DOWN}
    assert len(named) > 10


@pytest.mark.parametrize("name", PICTURES)
def test_picture_shows_what_it_is_made_of(name: str) -> None:
    picture = (ROOT / "docs" / f"{name}.svg").read_text()
    shown = re.sub(r"<[^>]+>", "", picture).replace("&#160;", " ").replace("&#x27;", "'")
    assert [line for line in PICTURES[name].commands if f"$ {line}" not in shown] == []
    assert "Traceback" not in shown
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    assert any(f"{name}.svg)" in page.read_text() for page in pages)


def test_flame_is_of_a_request() -> None:
    flame = (ROOT / "docs" / "flame.svg").read_text()
    assert flame.count("<rect ") > 20
    assert ">wsgi_app</text>" in flame
    assert "flame.svg)" in (ROOT / "docs" / "profiling.md").read_text()


def test_audit_page_names_every_action() -> None:
    written = set()
    for path in ROOT.glob("opsapp/**/*.py"):
        for found in re.findall(
            r'"((?:user|role|database|audit|job|console):\w+:\w+)"', path.read_text()
        ):
            written.add(found)
    assert [action for action in sorted(written) if f"`{action}`" not in AUDIT] == []
    assert len(written) > 10


def test_jobs_page_says_every_status_key_and_job() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    for status, says in runs.STATUSES.items():
        assert f"| `{status}` | {says} |" in page
    shipped = schedule.load(settings.SHIPPED_JOBS)
    keys = (*fields.OF_JOB, *fields.OF_OPTIONS, *shipped)
    assert [word for word in keys if f"`{word}`" not in page] == []


def test_example_of_the_jobs_page_is_a_schedule() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    content = page.partition("```toml\n")[2].partition("```")[0]
    assert schedule.parse(content, ROOT).keys() == {"report"}


def test_reliability_page_has_the_counts_of_the_mutants() -> None:
    assert mutants() in PAGE.read_text()


def test_every_setting_has_a_meaning() -> None:
    assert [s.name for s in SETTINGS if not s.meaning.endswith(".")] == []


def test_documents_link_to_files_that_are_there() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), (page, link)


def test_shell_page_names_every_magic() -> None:
    folder = ROOT / "commands" / "shell"
    source = "".join((folder / name).read_text() for name in ("magics.py", "sql_magics.py"))
    magics = re.findall(r"@(?:line|cell|line_cell)_magic\n    def (\w+)\(", source)
    page = (ROOT / "docs" / "shell.md").read_text()
    assert [name for name in magics if f"%{name}" not in page] == []
    assert len(magics) == 10
