"""Completion and help inside of the console."""

from __future__ import annotations

import ast

import pytest

from tests.support import Database
from tests.support.console_play import play

COMPLETE = (
    "def complete(text):\n"
    "    from IPython.core.completer import provisionalcompleter\n"
    "    with provisionalcompleter():\n"
    "        found = list(get_ipython().Completer.completions(text, len(text)))\n"
    "    return [text[:one.start] + one.text for one in found]\n"
)


def completed(database: Database, mode: str, texts: list[str], *cells: str) -> list[list[str]]:
    """Return the texts that each text is completed to."""
    calls = [f"print('\\n§', complete({text!r}))" for text in texts]
    printed = play(database.environ, database.instance, mode, [*cells, COMPLETE, *calls])
    return [ast.literal_eval(line[2:]) for line in printed.splitlines() if line.startswith("§ ")]


@pytest.mark.parametrize("mode", ["write", "sandbox"])
def test_names_are_completed(database: Database, bob: str, mode: str) -> None:
    expected = {
        "%sql SELECT * FROM ops_gr": ["%sql SELECT * FROM ops_grants"],
        "%sql SELECT ema FROM ops_users WHERE usern": [
            "%sql SELECT ema FROM ops_users WHERE username"
        ],
        "%%sql\nSELECT * FROM ops_users\nWHERE usern": [
            "%%sql\nSELECT * FROM ops_users\nWHERE username"
        ],
        "db.session.query(User.id).filter_by(usern": [
            "db.session.query(User.id).filter_by(username="
        ],
        'sql("SELECT id FROM ops_users WHERE usern': [
            'sql("SELECT id FROM ops_users WHERE username'
        ],
        "%sql SELECT 1\nR('adm": ["%sql SELECT 1\nR('admin"],
        "rows = %sql SELECT * FROM ops_gr": ["rows = %sql SELECT * FROM ops_grants"],
        "%schema ops_gr": ["%schema ops_grants"],
        "User(usern": ["User(username="],
        'User("x", usern': ['User("x", username='],
        "User(f(1)[0], email='a(', usern": ["User(f(1)[0], email='a(', username="],
        "User(\n    active=True,\n    usern": ["User(\n    active=True,\n    username="],
        "User(email=usern": [],
        "User('usern": [],
        "print(User, usern": [],
        'x = U("bo': ['x = U("bob', 'x = U("bob@example.com'],
        "U('bob@ex": ["U('bob@example.com"],
        "client.as_('bob@ex": ["client.as_('bob@example.com"],
        "R('adm": ["R('admin"],
        **{
            f"{query}.filter_by(active=True, usern": [f"{query}.filter_by(active=True, username="]
            for query in (
                "User.query",
                "query(User)",
                "db.session.query(User)",
                "select(User)",
                "sa.select(User).where(User.id > f(1))",
                "db.select(User)",
                "db.session.scalars(sa.select(User)",
            )
        },
        "x.filter_by(usern": [],
    }
    texts = completed(database, mode, list(expected))
    assert dict(zip(expected, texts, strict=True)) == expected


def test_hostile_names_are_completed_as_literals(database: Database, bob: str) -> None:
    names = ["o'b\"r\\", "o\u202ex\n"]
    for id, name in enumerate(names, start=1):
        database.execute("UPDATE ops_users SET username = :name WHERE id = :id", name=name, id=id)
    asked = [
        *("U('o", 'U("o', "U('o\\'b", "sql('SELECT * FROM my"),
        *("%sql SELECT * FROM my", '%sql SELECT * FROM "my ""table" WHERE a'),
    ]
    table = "sa.Table('my \"table', db.metadata, sa.Column('a b', sa.Integer))"
    texts = completed(database, "write", asked, table)
    assert texts == [
        ["U('o\\'b\"r\\\\", "U('o\\u202ex\\n"],
        ['U("o\'b\\"r\\\\', 'U("o\\u202ex\\n'],
        ["U('o\\'b\"r\\\\"],
        ['sql(\'SELECT * FROM "my ""table"'],
        ['%sql SELECT * FROM "my ""table"'],
        ['%sql SELECT * FROM "my ""table" WHERE "a b"'],
    ]
    assert [ast.literal_eval(text[2:] + "'") for text in texts[0]] == names


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
