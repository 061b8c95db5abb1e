"""Engines of ours in the place of an application's own, while a command runs.

A command is a process of ours, so every connection of it has our time limits, ``BEGIN IMMEDIATE``
and a name in ``pg_stat_activity``, those of the application's models too. A server keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.engine import create
from sqlalchemy.exc import DBAPIError

from ..engine import connections
from ..engine.conditions import translate_error
from ..errors import NotReady
from ..libpq import modern_url
from ..unit import guard
from .sessions import is_in_memory

SETTING = "SQLALCHEMY_DATABASE_URI"
_KEPT = ("json_deserializer", "json_serializer")
"""The options of an application's engine that its models may rely on."""
_WORDS = (
    *("host", "hostaddr", "port", "user", "dbname", "options", "application_name"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "target_session_attrs"),
)
"""The keywords of libpq that lead to a database; others have defaults that differ by version."""
_DRIVERS = frozenset({"sqlite", "pysqlite", "psycopg", "psycopg2", "psycopg2cffi", "pg8000"})


_copies: WeakSet[sa.Engine] = WeakSet()
"""The engines of ours."""


def is_replaceable(engine: sa.Engine) -> bool:
    """Return whether an engine of ours can reach the same database."""
    if engine.dialect.name == "sqlite":
        # An address with parameters is the driver's own, which opens it differently.
        return not is_in_memory(engine) and "uri" not in engine.url.query
    return engine.dialect.name == "postgresql" and engine.driver in _DRIVERS


def has_creator(engine: sa.Engine) -> bool:
    """Return whether a function of the application makes the connections, or adds a password.

    It may give one that holds for minutes, so only a command has an engine of ours beside it.
    """
    if engine in _copies:
        return False  # The function is ours.
    creator = getattr(engine.pool, "_creator", None)  # SQLAlchemy has no public name for it.
    is_usual = creator is None or creator.__module__ == create.__name__
    return not is_usual or bool(engine.dialect.dispatch.do_connect)


def check_file(engine: sa.Engine) -> None:
    """Return if the application has made its SQLite file, which is not ours to make.

    :raises NotReady: it has not; names the file.
    """
    if engine.dialect.name == "sqlite" and is_replaceable(engine):
        path = connections.sqlite_file(engine)
        if not Path(path).exists():
            raise NotReady(
                f"there is no database file {path}",
                hint="the application makes its own, for example by its flask db upgrade",
            )


def like(engine: sa.Engine, options: Mapping[str, Any] | None = None) -> sa.Engine:
    """Return an engine of ours to the database of an application's engine.

    :param options: what the application's was made with; its addresses, certificates and
        ``search_path`` are kept. None where nothing tells: then a connection is asked.
    :raises NotReady: opsapp cannot use the URL, or its driver is not installed.
    """
    originals = dict(options or {})
    is_told = options is not None and not has_creator(engine)
    address = _url(engine, originals.get("connect_args") or {}) if is_told else _asked_url(engine)
    url = connections.check_url(address, SETTING)
    arguments = {name: originals[name] for name in _KEPT if name in originals}
    # A unit is a transaction, whatever the application's statements are.
    execution = {**engine.get_execution_options()}
    execution.pop("isolation_level", None)
    copy = sa.create_engine(
        url, **connections.options(url), **arguments, execution_options=execution
    )
    connections.prepare(copy)
    _copies.add(copy)
    guard.protect(copy)
    return copy


def _asked_url(engine: sa.Engine) -> str:
    """Return the URL of an engine as one of its connections tells it, with its password.

    :raises NotReady: the connection cannot be made, or its driver does not tell.
    """
    if engine.dialect.name == "sqlite":
        return _url(engine, {})
    try:
        with engine.connect() as connection:
            info = getattr(connection.connection.driver_connection, "info", None)
            words, password = _words_of(info), getattr(info, "password", None)
    except DBAPIError as error:
        raise translate_error(error) or error from error
    if words is None:
        raise NotReady(
            f"{engine.driver} does not tell where its connections lead",
            hint="psycopg and psycopg2 do; or SQLALCHEMY_DATABASE_URI, without creator=",
        )
    url = sa.URL.create(
        "postgresql",
        username=words.pop("user", None),
        password=password or None,
        database=words.pop("dbname", None),
        query=words,
    )
    return modern_url(url.render_as_string(hide_password=False))


def _words_of(info: Any) -> dict[str, str] | None:
    """Return what a connection was made with, by the keywords of libpq."""
    if hasattr(info, "get_parameters"):  # psycopg
        words = info.get_parameters()
    elif hasattr(info, "dsn_parameters"):  # psycopg2
        words = info.dsn_parameters
    else:
        return None
    return {name: str(words[name]) for name in _WORDS if words.get(name)}


def _url(engine: sa.Engine, arguments: Mapping[str, Any]) -> str:
    if engine.dialect.name == "sqlite":
        return sa.URL.create("sqlite", database=engine.url.database).render_as_string(False)
    # Every driver's arguments are libpq's, which are parameters of a URL as well.
    keywords = {
        name: str(value) for name, value in arguments.items() if isinstance(value, str | int)
    }
    url = engine.url.set(drivername="postgresql").update_query_dict(keywords)
    return modern_url(url.render_as_string(hide_password=False))
