"""Engines as applications make them: by functions, with arguments and options of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy import orm as so

from opsapp import Ops
from opsapp.database import removal, setup
from opsapp.engine.connections import BOOKKEEPING
from opsapp.errors import NotReady
from opsapp.extensions import db
from opsapp.ops import engines, seal
from opsapp.ops.attached import Attached
from opsapp.ops.observer import MARK
from opsapp.state import attachment_of
from tests.ops.conftest import OURS
from tests.support import Database, a_unit

EVENTS = "ops_audit_events"
WHERE = "SELECT current_database() || ' ' || current_setting('search_path')"


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def parameters(empty_database: Database) -> dict[str, Any]:
    """The arguments of libpq with which a function of the application connects."""
    url = sa.make_url(empty_database.url)
    return {"host": url.query["host"], "user": url.username, "dbname": url.database}


@contextmanager
def attached_to(app: Flask, theirs: SQLAlchemy) -> Iterator[Attached]:
    theirs.init_app(app)
    Ops(app, theirs)
    with app.app_context():
        try:
            yield attachment_of(app)
        finally:
            theirs.session.remove()
            for engine in theirs.engines.values():
                engine.dispose()


def place() -> Any:
    """Return the place to which a command's connections lead, and what it holds."""
    with db.engine.connect() as connection:
        return connection.scalar(sa.text(WHERE))


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return Flask("theirs", instance_path=str(tmp_path))


def by_creator(driver: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    connect: Callable[..., Any] = import_module(driver).connect
    words = {**parameters, "options": "-csearch_path=pg_catalog"}
    return f"postgresql+{driver}://", {"creator": lambda: connect(**words)}


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_command_goes_where_a_function_of_theirs_connects(
    app: Flask, driver: str, parameters: dict[str, Any]
) -> None:
    url, options = by_creator(driver, parameters)
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=options)
    with attached_to(app, SQLAlchemy()) as attached:
        # What the function gives may hold for minutes: the server asks it each time.
        assert attached.engines[BOOKKEEPING] is attached.engines[None]
        with attached.as_command():
            assert place() == f"{parameters['dbname']} pg_catalog"
            assert attached.engines[BOOKKEEPING] is not attached.engines[None]


def test_command_goes_where_a_listener_of_theirs_connects(
    app: Flask, parameters: dict[str, Any]
) -> None:
    """As a token of a cloud is given, which takes the place of a password."""
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg://"
    theirs = SQLAlchemy()
    with attached_to(app, theirs) as attached:

        def connect(_dialect: Any, _record: Any, _args: Any, words: dict[str, Any]) -> None:
            words.update(parameters)

        event.listen(theirs.engine, "do_connect", connect)
        assert attached.engines[BOOKKEEPING] is theirs.engine
        with attached.as_command():
            assert place() == f'{parameters["dbname"]} "$user", public'


def test_driver_that_does_not_tell_is_named(
    app: Flask, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_words_of", lambda _info: None)
    url, options = by_creator("psycopg", parameters)
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=options)
    message = r"^psycopg does not tell where its connections lead\n"
    with (
        attached_to(app, SQLAlchemy()) as attached,
        pytest.raises(NotReady, match=message),
        attached.as_command(),
    ):
        raise AssertionError


def test_database_that_cannot_be_asked_is_not_ready(app: Flask) -> None:
    url, options = by_creator("psycopg", {"host": "/nonexistent"})
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=options)
    with (
        attached_to(app, SQLAlchemy()) as attached,
        pytest.raises(NotReady, match=r"^the database cannot be reached: "),
        attached.as_command(),
    ):
        raise AssertionError


def test_arguments_of_an_engine_that_they_made_are_kept(
    app: Flask, empty_database: Database
) -> None:
    url = empty_database.url.replace("postgresql:", "postgresql+psycopg:")
    arguments = {"options": "-csearch_path=pg_catalog"}
    engine = sa.create_engine(url, connect_args=arguments)
    session = so.scoped_session(so.sessionmaker(engine))
    Ops(app, session=session, engine=engine)
    attached: Attached = attachment_of(app)
    with app.app_context():
        with attached.as_command():
            assert place().endswith(" pg_catalog")
        bookkeeping = attached.engines[BOOKKEEPING]
        assert bookkeeping is not engine
        bookkeeping.dispose()
    engine.dispose()


def test_options_of_their_flask_sqlalchemy_are_kept(app: Flask, empty_database: Database) -> None:
    url = empty_database.url.replace("postgresql:", "postgresql+psycopg:")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    options = {
        "connect_args": {"options": "-csearch_path=pg_catalog"},
        "execution_options": {"of_theirs": 7},
    }
    with attached_to(app, SQLAlchemy(engine_options=options)) as attached, attached.as_command():
        assert place().endswith(" pg_catalog")
        assert db.engine.get_execution_options()["of_theirs"] == 7


def test_unit_is_a_transaction_where_their_statements_are_none(
    app: Flask, empty_database: Database
) -> None:
    url = empty_database.url.replace("postgresql:", "postgresql+psycopg:")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "execution_options": {"isolation_level": "AUTOCOMMIT", "of_theirs": 7}
    }
    with attached_to(app, SQLAlchemy()) as attached, attached.as_command():
        options = {**db.engine.get_execution_options()}
        assert (options["of_theirs"], "isolation_level" in options) == (7, False)
        for engine in attached.engines.values():
            with engine.connect() as connection:
                connection.execute(sa.text("CREATE TABLE things (id INTEGER)"))
                connection.rollback()
                assert not sa.inspect(connection).has_table("things")


def test_map_of_schemas_is_for_their_tables_alone(
    app: Flask, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a schema for each tenant, opsapp's tables are where the path leads."""
    monkeypatch.setattr(seal.Sealer, "notify", lambda _self, *, look=False: None)
    empty_database.execute("CREATE SCHEMA tenant")
    url = empty_database.url.replace("postgresql:", "postgresql+psycopg:")
    app.config.update(OURS, SQLALCHEMY_DATABASE_URI=url, OPSAPP_PROFILING=False)
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "execution_options": {"schema_translate_map": {None: "tenant"}}
    }
    theirs = SQLAlchemy()
    name = {"__tablename__": "people", "id": theirs.Column(theirs.Integer, primary_key=True)}
    user = type("User", (theirs.Model,), {**name, "active": theirs.Column(theirs.Boolean)})
    with attached_to(app, theirs) as attached:
        theirs.create_all()
        with attached.as_command():
            setup.init(wal=False, unit=a_unit())
        theirs.session.add(user(active=True))
        theirs.session.commit()
        assert app.extensions[MARK].sealer.work()
        schemas = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE "
        assert empty_database.rows(schemas + "'ops%'") == [("public",)]
        assert empty_database.rows(schemas + "'people'") == [("tenant",)]
        with attached.as_command():
            assert [row["rows"] for row in removal.tables() if row["table"] == EVENTS] == [2]
            removal.drop()
            assert removal.tables() == []
            setup.init(wal=False, unit=a_unit())
        attached.engines[BOOKKEEPING].dispose()
