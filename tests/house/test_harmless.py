"""Installed beside an application that knows nothing of opsapp, nothing changes for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import FLASK, ROOT

WITHOUT_PLUGINS = (
    "import sys; from flask.cli import cli; cli._loaded_plugin_commands = True;"
    " cli.main(sys.argv[1:], prog_name='flask')"
)
"""Flask's program where no other package adds commands to it."""
THEIRS = {
    "login_app": ("translate", "init", "de"),
    "security_app": ("users", "create", "ada@example.com", "--password", "correct horse battery"),
    "flag_app": ("create-admin", "ada@example.com"),
    "relation_app": ("roles", "list"),
    "word_app": ("jobs",),
    "uuid_app": ("mail", "list"),
}
"""The applications of tests/apps, with a command of each that has a name of ours or of Flask's."""


OPS = "ops Audit, jobs, queries, users: opsapp's commands."
"""The one line that its help has more."""


class Copy:
    """An application in a folder of its own, with or without opsapp beside it."""

    def __init__(self, app: str, folder: Path, program: list[str]) -> None:
        folder.mkdir()
        self.program = program
        self.folder = folder
        self.environ = {
            **os.environ,
            "FLASK_APP": f"tests.apps.{app}:create_app",
            "PYTHONPATH": str(ROOT),
            "FLASK_SKIP_DOTENV": "1",
            "THEIR_DATABASE_URL": f"sqlite:///{folder}/theirs.sqlite",
            "THEIR_MIGRATIONS": str(folder / "migrations"),
        }

    def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [*self.program, *words],
            env=self.environ,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        place = str(self.folder)
        return done.returncode, done.stdout.replace(place, "…"), done.stderr.replace(place, "…")


@pytest.fixture(params=THEIRS)
def copies(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Copy, Copy]:
    """The name of an application, a copy of it without opsapp, and one beside it."""
    without = Copy(request.param, tmp_path / "without", [sys.executable, "-c", WITHOUT_PLUGINS])
    return request.param, without, Copy(request.param, tmp_path / "beside", [FLASK])


def test_commands_of_the_application_are_as_before(copies: tuple[str, Copy, Copy]) -> None:
    app, without, beside = copies
    assert without.run("db", "init")[0] == 0
    assert without.run("db", "migrate", "-m", "begin", "--rev-id", "0a1b")[0] == 0
    (without.folder / "migrations").rename(beside.folder / "migrations")
    (beside.folder / "migrations" / "alembic.ini").touch()
    (without.folder / "migrations").symlink_to(beside.folder / "migrations")
    for words, stdin in (
        (("db", "--help"), ""),
        (("db", "upgrade"), ""),
        (("db", "current"), ""),
        (("db", "check"), ""),
        ((THEIRS[app][0], "--help"), ""),
        (THEIRS[app], ""),
        (("shell",), "print(app.name)\n"),
        (("routes",), ""),
        (("db", "downgrade"), ""),
    ):
        assert beside.run(*words, stdin=stdin) == without.run(*words, stdin=stdin), words
    listed = [*_words(without.run("--help")), OPS.split()]
    assert sorted(_words(beside.run("--help"))) == sorted(listed)


def _words(run: tuple[int, str, str]) -> list[list[str]]:
    """Return the words of each line, without how wide a column is."""
    assert (run[0], run[2]) == (0, "")
    return [line.split() for line in run[1].splitlines()]


def test_command_of_ours_is_not_there(tmp_path: Path) -> None:
    beside = Copy("login_app", tmp_path / "beside", [FLASK])
    usage = "Usage: flask [OPTIONS] COMMAND [ARGS]...\nTry 'flask --help' for help.\n\n"
    for name in ("users", "audit", "doctor", "query"):
        says = f"Error: No such command '{name}'. Did you mean 'ops {name}'?\n"
        assert beside.run(name, "list") == (2, "", usage + says)


def test_no_file_is_left(tmp_path: Path) -> None:
    beside = Copy("word_app", tmp_path / "beside", [FLASK])
    assert beside.run("jobs") == (0, "nothing is planned\n", "")
    assert list(beside.folder.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_ENGINE_OPTIONS", "SQLALCHEMY_BINDS"]
)
def test_setting_of_the_database_that_comes_late_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "late.py").write_text(
        f"import opsapp\napp = opsapp.create_app()\napp.config[{name!r}] = 'sqlite:///other'\n"
    )
    environ = {**os.environ, "FLASK_APP": "late", "OPSAPP_INSTANCE": str(tmp_path / "instance")}
    done = subprocess.run(
        [FLASK, "users", "list"], env=environ, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (
        7,
        "",
        f"Error: {name} was set after opsapp.create_app(), which has opened another database\n"
        f"  → opsapp.create_app({{{name!r}: …}})\n",
    )
