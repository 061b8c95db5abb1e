"""Engines of ours in the place of an application's own, while a command runs.

A command is a process of ours, so every connection of it has our time limits, ``BEGIN IMMEDIATE``
and a name in ``pg_stat_activity``, those of the application's models too. A server keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ..engine import connections
from ..errors import NotReady
from ..libpq import modern_url
from ..unit import guard
from .sessions import is_in_memory

SETTING = "SQLALCHEMY_DATABASE_URI"
_KEPT = ("execution_options", "json_deserializer", "json_serializer")
"""The options of an application's engine that its models may rely on."""
_DRIVERS = frozenset({"sqlite", "pysqlite", "psycopg", "psycopg2", "psycopg2cffi", "pg8000"})


def is_replaceable(engine: sa.Engine) -> bool:
    """Return whether an engine of ours can reach the same database."""
    if engine.dialect.name == "sqlite":
        # An address with parameters is the driver's own, which opens it differently.
        return not is_in_memory(engine) and "uri" not in engine.url.query
    return engine.dialect.name == "postgresql" and engine.driver in _DRIVERS


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
        ``search_path`` are kept.
    :raises NotReady: opsapp cannot use the URL, or its driver is not installed.
    """
    originals = dict(options or {})
    url = connections.check_url(_url(engine, originals.get("connect_args") or {}), SETTING)
    arguments = {name: originals[name] for name in _KEPT if name in originals}
    copy = sa.create_engine(url, **connections.options(url), **arguments)
    connections.prepare(copy)
    guard.protect(copy)
    return copy


def _url(engine: sa.Engine, arguments: Mapping[str, Any]) -> str:
    if engine.dialect.name == "sqlite":
        return sa.URL.create("sqlite", database=engine.url.database).render_as_string(False)
    # Every driver's arguments are libpq's, which are parameters of a URL as well.
    keywords = {
        name: str(value) for name, value in arguments.items() if isinstance(value, str | int)
    }
    url = engine.url.set(drivername="postgresql").update_query_dict(keywords)
    return modern_url(url.render_as_string(hide_password=False))
