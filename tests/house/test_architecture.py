"""The house: where commands live, how long a file is, who commits and who asks for the time."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import opsapp
import opsapp.commands
from opsapp import commands
from opsapp.entrypoints import SUBJECTS, ops
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
    beside = ("bench", "docs", "examples", "migrations", "tests")
    paths = [*SOURCES, *(path for folder in beside for path in ROOT.glob(f"{folder}/**/*.py"))]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {name: count for name, count in lengths.items() if count > 400} == {}


def test_no_body_is_longer_than_forty_lines() -> None:
    """A docstring is not counted: it is for the reader who wants no body."""
    lengths = {
        f"{path.name}:{node.name}": (node.end_lineno or 0) - start + 1
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef)
        for start in [node.body[1 if ast.get_docstring(node) and node.body[1:] else 0].lineno]
    }
    assert len(lengths) > 1000
    assert {name: length for name, length in lengths.items() if length > 40} == {}


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
    assert committing == {"work.py", "separate_audit.py"}


def test_string_that_names_a_module_names_one_that_is_there() -> None:
    """A file that moves must not change behaviour that hangs on its name."""
    names = {
        node.value.removesuffix(".")
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"opsapp(\.\w+){2,}\.?|opsapp\.\w+\.", node.value)
    }
    assert len(names) > 3
    assert [name for name in sorted(names) if find_spec(name) is None] == []


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
OF_THE_FRAME = {"completion", "init-db", "create-admin"}
"""Commands without a room: of the shell, and short forms of others."""


def block(heading: str) -> str:
    """The first fenced block below a heading of docs/architecture.md."""
    return ARCHITECTURE.split(f"## {heading}\n", 1)[1].split("```", 2)[1]


def layers() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract: list[str] = project["tool"]["importlinter"]["contracts"][0]["layers"]
    return contract


def test_page_has_the_layers_of_the_contract() -> None:
    assert block("Layers").strip().splitlines() == layers()


def test_tree_has_every_module() -> None:
    paths = (path for path in Path(opsapp.__file__).parent.iterdir() if path.name[0] != "_")
    names = set(re.findall(r"\w+", block("The tree")))
    assert sorted({path.stem for path in paths} - names) == []


def test_every_group_has_a_room_and_every_room_a_group() -> None:
    rooms = re.findall(r"^  (\w+)/ +(flask .+)", block("The tree"), re.M)
    groups = {group for _room, words in rooms for group in re.findall(r"flask ([\w-]+)", words)}
    listed = {command.name for subject in SUBJECTS.values() for command in subject} | {ops.name}
    assert groups == listed - OF_THE_FRAME
    start, end = layers().index("doctor | console"), layers().index("profiling | mail | accounts")
    assert {room for room, _words in rooms} == set(
        re.findall(r"\w+", " ".join(layers()[start : end + 1]))
    )
