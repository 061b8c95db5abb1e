"""The names of the console: what applications add, what clashes, and what services become."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import clock, signals
from opsapp.accounts import users
from opsapp.commands.shell import banner
from opsapp.console.change_log import Writes
from opsapp.console.modes import Mode
from opsapp.console.namespace import SERVICES, Catalogue, Verbs, catalogue
from opsapp.console.pending import Pending
from opsapp.console.sessions import Session
from opsapp.errors import Refused
from opsapp.extensions import db
from opsapp.models import MailMessage, User
from tests.support import OPERATOR, a_unit


def session(mode: Mode = Mode.WRITE) -> Session:
    nothing: Any = None  # No input is put on record here.
    return Session("00000000-0000-4000-8000-000000000000", OPERATOR, mode, "ticket 7", nothing)


def names(app: Flask, mode: Mode = Mode.WRITE) -> Catalogue:
    pending = Pending(db.session())
    return catalogue(app, session(mode), Writes([db.engine], pending), pending, {})


def test_application_adds_names_and_lines(app: Flask, ada: str) -> None:
    app.shell_context_processor(lambda: {"answer": 42})

    def give(sender: Flask) -> dict[str, object]:
        return {"question": ("why?", "a common question")}

    with signals.shell_names.connected_to(give, app):
        found = names(app)
    assert found.names["answer"].value == 42
    assert (found.names["question"].value, found.names["question"].line) == (
        "why?",
        "a common question",
    )
    assert found.clashes == []


def test_name_that_is_taken_is_reported(app: Flask, ada: str) -> None:
    app.shell_context_processor(lambda: {"User": "another class", "db": db})
    found = names(app)
    assert found.names["User"].value is User
    assert len(found.clashes) == 1
    assert found.clashes[0].startswith("User of From ")
    assert found.clashes[0].endswith("is not bound: Models has that name")


def test_application_that_fails_to_give_names_is_reported(app: Flask, ada: str) -> None:
    def broken() -> dict[str, object]:
        raise LookupError("no names today")

    app.shell_context_processor(broken)
    found = names(app)
    assert "User" in found.names
    assert [clash.split(" gave ")[1] for clash in found.clashes] == [
        "no names: LookupError: no names today"
    ]


def test_every_verb_that_the_banner_names_is_there() -> None:
    for service, (module, line) in SERVICES.items():
        _, sign, verbs = line.partition(": ")
        there = dir(Verbs(f"opsapp.{module}", a_unit))
        assert [verb for verb in verbs.split(", ") if sign and verb not in there] == [], service


def test_banner_wraps_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    found = Catalogue()
    found.add("AuditEvent", None, "What was changed, by whom, when and why", "Models")
    console: Any = SimpleNamespace(names=found)
    lines = [one.line for one in banner.catalogue(console)]
    assert lines == [
        "",
        "Models",
        "  AuditEvent  What was changed, by whom,",
        "              when and why",
    ]
    found.add("User", None, "An account", "Models")
    assert [one.line for one in banner.catalogue(console, "WHY")] == lines[2:]
    assert banner.catalogue(console, "nothing") == []


def test_service_is_a_verb_with_a_unit_of_its_own(app: Flask, ada: str) -> None:
    verbs = names(app).names["users"].value
    assert "unit" not in inspect.signature(verbs.update).parameters
    assert "update" in dir(verbs)
    assert verbs.update("ada", username="ada2")["username"] == "ada2"


def test_verb_takes_an_account_a_role_or_a_number_for_its_name(app: Flask, bob: str) -> None:
    shown = {name: one.value for name, one in names(app).names.items()}
    shown["users"].update(2, username="robert")
    assert shown["U"](2).username == "robert"
    granted = shown["grants"].grant(shown["R"]("admin"), [shown["U"]("robert"), 1])
    assert [row["changed"] for row in granted] == [True, False]
    assert shown["sessions"].listing(shown["U"]("robert")) == []


def test_service_that_streams_gives_a_list(app: Flask, ada: str) -> None:
    found = names(app).names["audit"].value.events(limit=2)
    assert [event["seq"] for event in found] == [event["seq"] for event in found]
    assert len(found) == 2


@pytest.mark.parametrize("service", SERVICES)
def test_line_of_a_service_names_verbs_that_it_has(app: Flask, ada: str, service: str) -> None:
    found = names(app).names[service]
    named = found.line.partition(": ")[2]
    assert set(named.split(", ") if named else ()) <= set(dir(found.value))


def test_module_of_an_application_s_services_becomes_verbs(app: Flask, ada: str) -> None:
    app.shell_context_processor(lambda: {"staff": users, "clock": clock})
    found = names(app).names
    assert isinstance(found["staff"].value, Verbs)
    assert "unit" not in inspect.signature(found["staff"].value.update).parameters
    assert found["staff"].value.update("ada", username="ada2")["username"] == "ada2"
    assert found["clock"].value is clock  # Nothing in it takes a unit.


def test_read_only_session_makes_no_unit(app: Flask, ada: str) -> None:
    verbs = names(app, Mode.READ_ONLY).names["users"].value
    with pytest.raises(Refused) as refused:
        verbs.update("ada", username="ada2")
    assert refused.value.hint == "flask shell --sandbox, or --write"


def test_account_is_found_by_its_id_as_a_number(app: Flask, ada: str) -> None:
    assert names(app).names["U"].value(1).username == "ada"


def test_models_are_in_the_same_order_every_time(app: Flask) -> None:
    models = names(app).groups()["Models"]
    assert models == sorted(models, key=lambda one: (one.value.__module__, one.name))


def test_commit_in_a_read_only_session_says_how_to_write(app: Flask, ada: str) -> None:
    found = names(app, Mode.READ_ONLY).names
    found["U"].value("ada").username = "ada2"
    with pytest.raises(Refused, match="this session is read-only"):
        found["commit"].value()


def test_changed_account_is_refused_by_naming_its_services(app: Flask, ada: str) -> None:
    found = names(app).names
    found["U"].value("ada").username = "ada2"
    with pytest.raises(Refused) as refused:
        found["commit"].value()
    assert refused.value.hint is not None
    assert "users.update(…)" in refused.value.hint


def test_commit_records_the_rows_by_table(app: Flask, ada: str) -> None:
    commit = names(app).names["commit"].value
    sent(db.text("UPDATE ops_mail_messages SET subject = 'x'"), db.text("DELETE FROM ops_logins"))
    count = db.session.scalar(db.text("SELECT count(*) FROM ops_mail_messages"))
    assert count == 2
    assert commit() == {"ops_mail_messages": "2 updated"}


def sent(*statements: Any) -> None:
    for statement in statements:
        db.session.execute(statement)


def test_commit_counts_what_comes_back(app: Flask, ada: str) -> None:
    commit = names(app).names["commit"].value
    changed = sa.update(MailMessage).values(subject="x").returning(MailMessage.id)
    assert len(db.session.execute(changed).all()) == 2
    assert commit() == {"ops_mail_messages": "2 updated"}
    db.session.execute(changed.where(MailMessage.kind == "none")).all()
    # SQLite says the same of no rows and of rows that were not fetched.
    some = {"ops_mail_messages": "1 updated"}
    assert commit() == (some if db.engine.dialect.name == "sqlite" else {})


def test_commit_leaves_out_no_statement(app: Flask, ada: str) -> None:
    commit = names(app).names["commit"].value
    sent(
        db.text("CREATE TABLE trees (id integer)"),
        db.text("WITH one AS (SELECT 1 AS n) INSERT INTO trees SELECT n FROM one"),
    )
    assert commit() == {"other statements": "1 create", "trees": "1 inserted"}
    assert sa.inspect(db.engine).has_table("trees")
    assert commit() == {}


def test_commit_after_reading_has_nothing_to_record(app: Flask, ada: str) -> None:
    sent(
        db.text("SELECT 1 /* UPDATE ops_users */"),
        db.text("WITH one AS (SELECT 1) SELECT * FROM one"),
    )
    assert names(app).names["commit"].value() == {}


def test_commit_records_that_a_function_has_written(app: Flask, ada: str, kind: str) -> None:
    if kind == "sqlite":
        pytest.skip("has no functions that write")
    commit = names(app).names["commit"].value
    sent(
        db.text(
            "CREATE FUNCTION wipe() RETURNS integer LANGUAGE sql AS"
            " 'DELETE FROM ops_mail_messages; SELECT 1'"
        )
    )
    commit()
    sent(db.text("SELECT wipe()"))
    assert commit() == {"others": "1 locked, or written by a function"}
    assert db.session.scalar(db.text("SELECT count(*) FROM ops_mail_messages")) == 0
