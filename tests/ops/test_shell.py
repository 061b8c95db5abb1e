"""The console of an application that opsapp is attached to: its db, models and tables."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from opsapp.commands.shell import recorded
from opsapp.profiling.reports import n_plus_one, shown_names
from tests.apps import client_app
from tests.console.test_completion import COMPLETE
from tests.ops.conftest import EMAIL, OURS, Attach, Theirs, bob
from tests.support import Database
from tests.support.console_play import play

Play = Callable[..., str]


@pytest.fixture
def theirs(attach_to: Attach) -> Theirs:
    """An application with a member, whose badge is a secret, and a client of the member."""
    theirs = attach_to("client_app")
    theirs.add(client_app.Member(name="ada", badge="4711"))
    theirs.add(client_app.Client(member_id=1, api_key="4712"))
    return theirs


@pytest.fixture
def play_in(empty_database: Database) -> Play:
    """A function that plays cells in a console of an application; what it printed."""

    def printed(theirs: Theirs, *cells: str) -> str:
        name = theirs.module.__name__.rpartition(".")[2]
        theirs.db.session.remove()
        theirs.db.engine.dispose()
        path = f"tests.apps.with_ops:create_app('{name}')"
        environ = {**os.environ, **OURS, "FLASK_APP": path, "FLASK_SKIP_DOTENV": "1"}
        screen = play(environ, empty_database.instance, "write", cells)
        return screen.replace("Warning: Input is not a terminal (fd=0).\n", "")

    return printed


def tables(theirs: Theirs) -> set[str]:
    return set(sa.inspect(theirs.db.engine).get_table_names())


def test_db_is_that_of_the_application(theirs: Theirs, play_in: Play) -> None:
    before = tables(theirs)
    cells = ("from tests.apps import client_app", "print(db is client_app.db)", "db.create_all()")
    assert play_in(theirs, *cells) == "True\n"
    assert tables(theirs) == before


def test_tables_of_opsapp_are_made_and_dropped_by_commands_only(
    theirs: Theirs, play_in: Play
) -> None:
    before = tables(theirs)
    printed = play_in(
        theirs, "from opsapp.extensions import db as ours", "ours.create_all()", "ours.drop_all()"
    )
    assert printed == (
        "Refused: db.create_all() of opsapp is not for the tables of this application\n"
        "  → create_all() of the application's own db; flask ops init for those of opsapp\n"
        "Refused: db.drop_all() of opsapp is not for the tables of this application\n"
        "  → drop_all() of the application's own db; flask ops drop for those of opsapp\n"
    )
    assert tables(theirs) == before


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("db.session.get(Member, 1)", "Member\nid     1\nname   ada\nbadge  •••\n"),
        (
            "db.session.scalars(sa.select(Client)).all()",
            "id  member_id  api_key\n 1          1  •••\n",
        ),
        ("{1: db.session.get(Client, 1)}", "{1: <Client 1>}\n"),
        (
            "sa.select(Client, Member.name).join(Member)",
            "Client      name\n<Client 1>  ada\n",
        ),
        (
            "Client?",
            "Client: table client\n"
            "column     type         null  key      refers to  secret\n"
            "id         INTEGER            primary\n"
            "member_id  INTEGER      null           member.id\n"
            "api_key    VARCHAR(40)  null                      secret\n",
        ),
    ],
)
def test_value_of_a_model_is_shown_without_its_secrets(
    theirs: Theirs, play_in: Play, code: str, printed: str
) -> None:
    assert play_in(theirs, code) == printed


def test_names_of_the_application_are_completed(theirs: Theirs, play_in: Play) -> None:
    cells = ("%sql select * from mem", "%sql select na from member where na", 'U("a', 'R("a')
    printed = play_in(theirs, COMPLETE, *(f"print(complete({cell!r})[0])" for cell in cells))
    assert printed.splitlines() == [
        "%sql select * from member",
        "%sql select na from member where name",
        'U("%alias',
        'R("%alias',
    ]


@pytest.mark.parametrize("name", ["security_app", "flag_app", "uuid_app"])
def test_accounts_of_the_application_are_completed(
    attach_to: Attach, play_in: Play, name: str
) -> None:
    theirs = attach_to(name)
    bob(theirs)
    completions = [f'U("{EMAIL}']
    if name == "security_app":
        theirs.get(EMAIL).username = EMAIL.partition("@")[0]
        theirs.db.session.commit()
        completions.insert(0, f'U("{EMAIL.partition("@")[0]}')
    typed = f'U("{EMAIL[:2]}'
    printed = play_in(theirs, COMPLETE, f"print(complete({typed!r}))")
    assert printed == f"{completions}\n"


def test_repeated_statement_names_the_relation_of_the_application(theirs: Theirs) -> None:
    statement = "SELECT … FROM client WHERE client.member_id = ?"
    assert n_plus_one.advice(statement) == "selectinload(Member.clients)"


@pytest.mark.usefixtures("sqlite_only")
def test_statement_shows_the_names_of_the_application(theirs: Theirs) -> None:
    names = shown_names() or set()
    assert {"member", "api_key", "ops_audit_events"} <= names
    assert "ops_users" not in names


def test_banner_and_hints_name_what_is_bound(theirs: Theirs, play_in: Play) -> None:
    example = "from opsapp.commands.shell import banner; print(banner._example(_ip.console))"
    printed = play_in(theirs, "_ip = get_ipython()", example, "app.url_map")
    assert printed.startswith("Client.query.first()\n")
    assert "--web" not in printed


def test_change_of_a_model_file_is_told(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    files = recorded.ModelFiles()
    monkeypatch.setattr(recorded, "_modification_time", lambda file: file)
    assert client_app.__file__ in files.take_changed()
