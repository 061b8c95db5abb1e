"""The packages' public names: said in ``__all__``, importable, documented."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import click
import pytest

import opsapp
from opsapp.entrypoints import SUBJECTS, ops
from tests.support import ROOT

PACKAGES = [m.name for m in iter_modules(opsapp.__path__) if m.ispkg and m.name != "_shipped"]
ROOMS = {"accounts", "audit", "console", "database", "doctor", "jobs", "mail", "ops", "profiling"}
DOORS_AND_FLOORS = {"cli", "commands", "engine", "files", "models", "unit", "web"}


@pytest.mark.parametrize(
    "package", ["accounts", "cli", "doctor", "mail", "models", "ops", "profiling", "unit", "web"]
)
def test_public_names_are_there_and_say_what_they_are(package: str) -> None:
    module = import_module(f"opsapp.{package}")
    for name in module.__all__:
        exported = getattr(module, name)
        assert isinstance(exported, str | click.ParamType) or inspect.getdoc(exported), name


def test_name_that_is_not_public_is_refused() -> None:
    import opsapp.cli

    with pytest.raises(AttributeError, match=r"module 'opsapp\.cli' has no attribute 'nothing'"):
        _ = opsapp.cli.nothing


def test_every_folder_is_a_room_a_door_or_a_floor() -> None:
    assert set(PACKAGES) == ROOMS | DOORS_AND_FLOORS


def test_every_file_of_commands_is_what_flask_lists() -> None:
    listed = {command.module for commands in SUBJECTS.values() for command in commands}
    listed.add(ops.module)
    homes = {module.split(".")[2] for module in listed}
    shown = {path.stem if path.is_file() else path.name for path in _entries(ROOT / "commands")}
    assert shown == homes


def _entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith("__")]
