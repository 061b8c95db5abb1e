"""The house: where commands live, how long a file is, who commits and who asks for the time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import opsapp
import opsapp.commands
from opsapp import commands
from tests.support import ROOT

SOURCES = sorted([*ROOT.glob("opsapp/**/*.py"), *ROOT.glob("commands/**/*.py")])


@cache
def module(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(module(path))


def test_checkout_shows_the_commands_at_its_top() -> None:
    assert Path(commands.__file__ or "").resolve().parent == ROOT / "commands"
    assert Path(commands.__file__ or "").parent == Path(opsapp.__file__).parent / "commands"


def test_no_file_is_two_nouns() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lengths.items() if count > 400} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [p.name for p in SOURCES if not ast.get_docstring(module(p))]
    assert silent == []


def test_only_the_clock_asks_for_the_time() -> None:
    asking = {
        path.name
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
        and isinstance(node.value, ast.Name) and node.value.id in ("datetime", "date")
    }  # fmt: skip
    assert asking == {"clock.py"}


def test_only_the_unit_of_work_commits() -> None:
    committing = {
        path.name
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    }
    # The second is the audit's side of a unit, where the audit has a database of its own.
    assert committing == {"work.py", "beside.py"}
