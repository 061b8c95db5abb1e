"""The packages' public names: said in ``__all__``, importable, documented, and enough."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import click
import pytest

import opsapp
from docs import make
from opsapp.entrypoints import SUBJECTS, ops
from tests.support import ROOT

PACKAGES = [
    f"opsapp.{module.name}"
    for module in iter_modules(opsapp.__path__)
    if module.ispkg and module.name not in ("_shipped", "commands")
]
FACES = ["opsapp", *PACKAGES]
COSTLY = ("sqlalchemy", "flask_security", "flask_sqlalchemy", "rich", "cryptography")
EAGER = {"opsapp.models", "opsapp.profiling", "opsapp.web"}
"""Packages of tables, of pages and of a recorder: nothing of them works without what costs."""
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("package", FACES)
def test_public_names_are_there_and_say_what_they_are(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        exported = getattr(module, name)
        assert isinstance(exported, str | click.ParamType) or inspect.getdoc(exported), name


def test_page_of_the_api_has_every_face() -> None:
    faces = [package for package in FACES if import_module(package).__all__]
    assert sorted(make.FACES) == sorted(faces)


def _imports(code: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "opsapp":
            yield from ((str(node.module), alias.name) for alias in node.names)


def _shown() -> Iterator[tuple[str, str, str]]:
    """Yield each import from opsapp in the pages and examples: its file, module and name."""
    for page in PAGES:
        for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
            lines = re.sub(r"^%.*$", "", code, flags=re.M)  # IPython's own.
            yield from ((page.name, *pair) for pair in _imports(lines))
    for path in (ROOT / "examples").glob("**/*.py"):
        yield from ((path.name, *pair) for pair in _imports(path.read_text()))


def test_pages_and_examples_import_public_names_alone() -> None:
    modules = {f"opsapp.{name}" for name in make.MODULES}

    def is_public(module: str, name: str) -> bool:
        if module in modules:
            return not name.startswith("_")
        is_module = f"{module}.{name}" in modules or f"{module}.{name}" in FACES
        return is_module or (module in FACES and name in import_module(module).__all__)

    names = list(_shown())
    assert len(names) > 50
    assert [place for place in names if not is_public(*place[1:])] == []


def test_face_costs_nothing_until_a_name_is_asked_for() -> None:
    lines = f"import sys, {', '.join(sorted({*FACES} - EAGER))}\nprint(*sys.modules)"
    program = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, check=True
    )
    assert [name for name in COSTLY if name in program.stdout.split()] == []


INITS = sorted(
    path for path in ROOT.glob("opsapp/*/**/__init__.py") if "commands" not in path.parts
)


@pytest.mark.parametrize("init", INITS, ids=lambda init: init.parent.name)
def test_package_names_each_of_its_files(init: Path) -> None:
    """The docstring of a package is its map."""
    files = {path.stem for path in init.parent.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in init.parent.glob("*/__init__.py")}
    named = re.findall(r"\w+", ast.get_docstring(ast.parse(init.read_text())) or "")
    assert sorted((files | folders) - set(named)) == []


def test_name_that_is_not_public_is_refused() -> None:
    import opsapp.cli

    with pytest.raises(AttributeError, match=r"module 'opsapp\.cli' has no attribute 'nothing'"):
        _ = opsapp.cli.nothing


def test_every_file_of_commands_is_what_flask_lists() -> None:
    listed = {command.module for commands in SUBJECTS.values() for command in commands}
    listed.add(ops.module)
    homes = {module.split(".")[2] for module in listed}
    names = {path.stem if path.is_file() else path.name for path in _entries(ROOT / "commands")}
    assert names == homes


def _entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith("__")]
