"""Errors at the prompt: whose lines they show, and how an input is named."""

from __future__ import annotations

import re

import click
import pytest
from flask import Flask
from flask.cli import ScriptInfo

from opsapp.commands.shell.banner import name_of_application
from tests.support import Database
from tests.support.console_play import play
from tests.support.consoles import plain


def test_error_of_sqlalchemy_names_inputs_by_their_first_line(database: Database, ada: str) -> None:
    cells = ["def find():\n    User.query.filter_by(x=1)", "find()"]
    printed = play(database.environ, database.instance, "read-only", cells)
    lines = [line for line in printed.splitlines() if line.startswith(("  Input", "  File"))]
    assert lines == [
        "  Input 'find()', line 1, in <module>",
        "  Input 'def find():', line 2, in find",
    ]
    assert "<ipython-input" not in printed


def test_error_of_the_database_has_the_statement_as_it_was_written(
    database: Database, ada: str
) -> None:
    statement = "SELECT nothing % 2 WHERE 'a' LIKE 'a%'"
    printed = play(database.environ, database.instance, "read-only", [f"%sql {statement}"])
    assert f"  → it was: {statement}\n" in printed


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("shop.py", "shop"),
        ("shop:create_app", "shop"),
        ("examples/shop", "shop"),
        ("examples.shop:create_app()", "shop"),
        (None, "opsapp"),
    ],
)
def test_application_without_a_name_of_its_own_has_that_of_flask_app(
    app: Flask, path: str | None, name: str
) -> None:
    with click.Context(click.Command("shell"), obj=ScriptInfo(app_import_path=path)):
        assert name_of_application() == name


def test_traceback_of_an_input_has_no_frames_of_opsapp(database: Database, ada: str) -> None:
    cells = ["users.update('ada', usernme='x')", "%tb"]
    first, second = (
        plain(play(database.environ, database.instance, "write", cells[:count])) for count in (1, 2)
    )
    assert "TypeError: got an unexpected keyword argument 'usernme'" in first
    assert "namespace.py" not in first
    assert "namespace.py" in second


def test_warning_names_an_input_by_its_first_line(database: Database, ada: str) -> None:
    cells = ["import warnings\nwarnings.warn('mind this')", "1"]
    printed = play(database.environ, database.instance, "read-only", cells)
    line = "Input 'import warnings':2: UserWarning: mind this\n  warnings.warn('mind this')\n"
    assert line in printed


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "sa.select(sa.column('a')).select_from(sa.table('nosuch'))",
            r"\w+: .*nosuch.*\n  → it was: SELECT a .*",
        ),
        (
            "user = U(1); db.session.expire(user); db.session.expunge(user); user",
            r"sqlalchemy\.orm\.exc\.DetachedInstanceError: .*\n  → %tb shows .*",
        ),
        ("db.Model", r"opsapp\.extensions\.\w+"),
    ],
)
def test_value_that_cannot_be_displayed_is_a_line(
    database: Database, ada: str, code: str, words: str
) -> None:
    printed = play(database.environ, database.instance, "write", [code])
    lines = printed.replace("Warning: Input is not a terminal (fd=0).\n", "").strip()
    assert re.fullmatch(words, lines)
