"""Values as the console shows them, inside of others too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from IPython.core.formatters import PlainTextFormatter

from opsapp.commands.shell import display
from opsapp.extensions import db
from opsapp.models import User

HASH = "$argon2id$v=19$m=65536,t=3,p=4$PIfQutfa27uXsrb2XmuN0Q$P+OPTZCmRSJ5F4q"


@pytest.fixture
def show() -> Callable[[Any], str]:
    """The text that the console shows of a value."""
    formatter = PlainTextFormatter()
    display.teach(formatter)
    return lambda value: str(formatter(value))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (["a", "b"], "['a', 'b']"),
        (("a", 1, None), "('a', 1, None)"),
        ({"a b": {"x"}}, "{'a b': {'x'}}"),
        (["\x1b]0;evil"], "['\\x1b]0;evil']"),
        ([HASH], "[•••]"),
        (({"token": "abc", "id": 1},), "({'token': '•••', 'id': 1},)"),
        ((display.Rows([{"id": 1, "password": "abc"}]),), "([{'id': 1, 'password': '•••'}],)"),
    ],
)
def test_show_texts_inside_of_other_values(
    show: Callable[[Any], str], value: Any, shown: str
) -> None:
    assert show(value) == shown


def test_show_models_inside_of_other_values(
    app: Flask, ada: str, show: Callable[[Any], str]
) -> None:
    found = db.session.get(User, 1)
    assert show((found, "x")) == "(<User 1>, 'x')"
    assert show([found]).splitlines()[0].split()[:3] == ["id", "email", "username"]


def test_wrap_the_columns_that_have_no_room_between_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    row = {"id": 1, "text": "x" * 50, "first_of_them": 2, "second_of_them": 3}
    assert display.table([row]).splitlines()[-2:] == [
        "(not shown: text, first_of_them,",
        "second_of_them)",
    ]
