"""Completion and help inside of the console."""

from __future__ import annotations

import pytest

from tests.support import Database
from tests.support.console_play import play

COMPLETE = (
    "def complete(line):\n"
    "    from IPython.core.completer import provisionalcompleter\n"
    "    with provisionalcompleter():\n"
    "        return [c.text for c in get_ipython().Completer.completions(line, len(line))]\n"
)


@pytest.mark.parametrize("mode", ["write", "sandbox"])
def test_names_are_completed(database: Database, bob: str, mode: str) -> None:
    asked = {
        "tables": "%sql SELECT * FROM ops_gr",
        "columns": "%sql SELECT ema FROM ops_users WHERE usern",
        "schema": "%schema ops_gr",
        "keywords": "User(usern",
        "filters": "x = User.query.filter_by(usern",
        "users": 'x = U("bo',
        "roles": "R('adm",
    }
    cells = [COMPLETE, *(f"print({name!r}, complete({line!r}))" for name, line in asked.items())]
    printed = play(database.environ, database.instance, mode, cells)
    answers = dict(line.split(" ", 1) for line in printed.splitlines() if "[" in line)
    assert {name: eval(answer) for name, answer in answers.items()} == {  # noqa: S307
        "tables": ["ops_grants"],
        "columns": ["username"],
        "schema": ["ops_grants"],
        "keywords": ["username="],
        "filters": ["username="],
        "users": ["bob"],
        "roles": ["admin"],
    }


def test_model_shows_its_columns(database: Database, ada: str) -> None:
    printed = play(
        database.environ, database.instance, "write", ["Grant?", "Grant", "app.url_map", "User"]
    )
    first, second, routes = (
        printed.split("Grant: table ops_grants\n")[1:][0],
        *(printed.split("Grant: table ops_grants\n")[2].split("Without pages", 1)),
    )
    assert first.strip() == second[: len(first.strip())].strip()
    assert "ops_users.id" in first
    assert "User: table ops_users\n" in printed
    assert "Without pages and API: flask shell --web has them." in printed, routes
