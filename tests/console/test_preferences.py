"""`console.toml`: what a console at a terminal begins with, and the errors of the file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from opsapp.console import preferences
from tests.support import Database, run
from tests.support.consoles import RW, console

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def write(database: Database, text: str, mode: int = 0o600) -> None:
    file = database.instance / preferences.NAME
    file.write_text(text)
    file.chmod(mode)


def in_one_line(screen: str) -> str:
    """Return what a terminal has broken between words."""
    return " ".join(screen.split())


def test_console_begins_as_the_file_says(database: Database, ada: str) -> None:
    write(database, 'editing = "vi"\nbanner = false\nhistory = 2\n[names]\n'
          'Money = "decimal:Decimal"\ngone = "nosuch:X"\nU = "decimal"\n')  # fmt: skip
    with console(database) as user:
        warning = (
            "Warning: console.toml: gone is not bound"
            " (nosuch:X: ModuleNotFoundError: No module named 'nosuch')"
        )
        # With vi's keys the cursor has another form.
        assert in_one_line(user.wait().removesuffix("\x1b[6 q")) == warning
        assert user.type("Money(1)").splitlines()[0] == "Decimal('1')"
        assert user.type("get_ipython().editing_mode").splitlines()[0] == "'vi'"
        assert user.type("U(1).id").splitlines()[0] == "1"
        assert user.leave()[0] == 0
    with console(database) as user:  # The next one forgets all but the newest inputs.
        user.wait()
        assert user.leave()[0] == 0
    with closing(sqlite3.connect(database.instance / "shell" / "history.sqlite")) as history:
        kept = history.execute("SELECT source FROM history ORDER BY session, line").fetchall()
    assert kept == [("get_ipython().editing_mode",), ("U(1).id",)]


def test_program_begins_without_the_file(database: Database) -> None:
    write(database, "this is no TOML")
    done = run(database, "shell", "-c", "print(1)")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("editing = 'ed'", 0o600, ": editing is ed, and not emacs or vi\n"),
        ("history = true", 0o600, ": history is True, and not a number from 0 to 1000000\n"),
        ("names = {'a b' = 'x'}", 0o600, ": names is {'a b': 'x'}, and not a table of names"),
        (
            "colors = 'none'",
            0o600,
            ": colors is not a known preference\n  → did you mean colours?\n",
        ),
        ("banner = ", 0o600, " cannot be read: Invalid value (at end of document)\n"),
        ("banner = true", 0o602, ", which names modules\n  → chmod go-w "),
        ("banner = true", 0o620, ", which names modules\n  → chmod go-w "),
    ],
)
def test_error_of_the_file_is_a_line(database: Database, text: str, mode: int, why: str) -> None:
    write(database, text, mode)
    with console(database) as user:
        code, screen = user.ending()
    assert code == 7
    assert in_one_line(why) in in_one_line(screen)


APPLICATION = """
from sqlalchemy import orm as so
from opsapp import create_app as create_core
from opsapp.extensions import Model

class Thing(Model):
    __tablename__ = "things"
    id: so.Mapped[int] = so.mapped_column(primary_key=True)

def create_app():
    return create_core()
"""


def test_change_of_a_file_with_models_is_told_once(
    database: Database, ada: str, tmp_path: Path
) -> None:
    file = tmp_path / "things.py"
    file.write_text(APPLICATION)
    own = {"FLASK_APP": str(file), "PYTHONDONTWRITEBYTECODE": "1"}
    with console(database, "--no-banner", prompt="things(development:rw)>", **own) as user:
        user.wait()
        assert user.type("1").splitlines()[0] == "1"
        file.write_text(f"{APPLICATION}\n# Edited.\n")
        os.utime(file, (2, 2))
        remark = f"{file} has changed; start a new console to reload its tables."
        assert remark in in_one_line(user.type("2"))
        assert "changed" not in user.type("3")


@pytest.fixture
def pager(tmp_path: Path) -> Path:
    """A pager that keeps how it is called, and the text."""
    program = tmp_path / "pager"
    program.write_text(
        f'#!/bin/sh\necho "$LESS $LESSSECURE" > {tmp_path}/how\ncat > {tmp_path}/shown\n'
    )
    program.chmod(0o755)
    return program


def test_long_result_goes_through_a_pager(database: Database, ada: str, pager: Path) -> None:
    with console(database, "--no-banner", PAGER=str(pager)) as user:
        user.wait()
        user.type("%sql --all SELECT * FROM ops_users")
        assert user.leave()[0] == 0
    assert pager.with_name("how").read_text() == "FRSX 1\n"
    assert "confirmed_at" in pager.with_name("shown").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("options", "prompt", "question"),
    [
        (("--no-banner",), RW, "help(sa.Column)"),
        (("--no-banner",), RW, "sa.Column?"),
        (("--plain",), ">>> ", "help(sa.Column)"),
    ],
)
def test_help_goes_through_the_same_pager(
    database: Database, ada: str, pager: Path, options: tuple[str], prompt: str, question: str
) -> None:
    with console(database, *options, prompt=prompt, PAGER=str(pager)) as user:
        user.wait()
        user.type(question)
        assert user.leave()[0] == 0
    assert pager.with_name("how").read_text() == "FRX 1\n"
    assert "Column" in pager.with_name("shown").read_text()
