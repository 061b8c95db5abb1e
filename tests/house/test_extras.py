"""The extras: what is missing is said with the line to type, and nothing is forgotten."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from opsapp import entrypoints
from opsapp.extras import EXTRAS
from tests.support import ROOT, Cli

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = {"dotenv": "python-dotenv", "alembic": "flask-migrate", "werkzeug": "flask",
         "jinja2": "flask", "blinker": "flask", "markupsafe": "flask", "itsdangerous": "flask",
         "prompt_toolkit": "ipython", "pygments": "ipython", "traitlets": "ipython",
         "flask_login": "flask-security", "flask_wtf": "flask-security",
         "passlib": "flask-security", "email_validator": "flask-security",
         "apispec": "flask-smorest", "marshmallow": "flask-smorest",
         "argon2": "flask-security", "webargs": "flask-smorest"}  # fmt: skip
"""Packages whose distribution has another name, or comes with another one."""
PLUGIN = ROOT / "opsapp" / "testing.py"
"""The plugin of pytest, which is there when it is imported."""


def imported() -> set[str]:
    """The packages that the code imports, beside the standard library's and ours."""
    found = set()
    for path in {*ROOT.glob("opsapp/**/*.py"), *ROOT.glob("commands/**/*.py")} - {PLUGIN}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    # Only pytest imports the fixtures, so where they are imported it is installed.
    return found - set(sys.stdlib_module_names) - {"opsapp", "IPython", "pytest"}


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in requirements}


def test_every_package_is_of_the_core_or_of_its_extra() -> None:
    core = distributions(PROJECT["dependencies"])
    extras = {name: distributions(of) for name, of in PROJECT["optional-dependencies"].items()}
    for package in imported():
        distribution = NAMES.get(package, package.replace("_", "-"))
        home = core if package not in EXTRAS else extras[EXTRAS[package]]
        assert distribution in home, package


PINS = {
    "click": "8.1.7",
    "flask": "3.0.0",
    "flask-migrate": "4.0.5",
    "flask-sqlalchemy": "3.1.1",
    "python-dotenv": "1.0.0",
    "rich": "13.7.0",
    "sqlalchemy": "2.0.23",
}
"""Versions that an application of 2023 has pinned."""


def test_core_moves_no_pin_of_an_application() -> None:
    for requirement in map(Requirement, PROJECT["dependencies"]):
        pin = PINS.get(requirement.name)
        assert pin is None or requirement.specifier.contains(pin), requirement
        assert not [s for s in requirement.specifier if s.operator != ">="], requirement


def test_all_has_every_extra_that_an_application_needs() -> None:
    (all_of,) = PROJECT["optional-dependencies"]["all"]
    named = set(re.findall(r"\w+", all_of.partition("[")[2]))
    assert named == set(PROJECT["optional-dependencies"]) - {"all", "redis"}


def test_missing_extra_says_what_to_type(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "flask_security"
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent(package), *sys.meta_path])
    done = cli("users", "create", "bob@example.com", "--generate-password")
    assert (done.exit_code, done.stdout, done.stderr) == (
        7,
        "",
        f"Error: this needs {package}, which is not installed\n"
        "  → pip install 'opsapp[accounts]'\n",
    )


class _Absent:
    """An importer that has one package no more."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_core_goes_on_without_dotenv(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "dotenv", None)
    monkeypatch.setenv("SECRET_KEY", "a secret of the tests, which is long enough")
    entrypoints._check_env_files()
    schedule = tmp_path / "jobs.toml"
    schedule.write_text('[clean]\nschedule = "0 3 * * *"\ncommand = ["true"]\n')
    monkeypatch.setenv("OPSAPP_JOBS_FILE", str(schedule))
    done = cli("jobs", "install", "--format", "crontab")
    assert (done.exit_code, done.stderr.count("if python-dotenv is installed")) == (0, 1)
