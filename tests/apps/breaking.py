"""An application whose own listeners break its commits, as ``BREAK`` in the environment says.

``BREAK=before_commit:kill`` kills the process just before the application's commit. What else
happens there is a function of this module.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3

import psycopg
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event
from sqlalchemy import orm as so

from opsapp import Ops
from tests.apps import relation_app

db, User, Role = relation_app.db, relation_app.User, relation_app.Role
_broken: list[sqlite3.Connection] = []


def kill(_session: so.Session) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(_session: so.Session) -> None:
    raise RuntimeError("ada@example.com may not change")


def disconnect(session: so.Session) -> None:
    """End the connection of the application on the server's side."""
    engine = session.get_bind()
    assert isinstance(engine, sa.Engine)
    mine = session.connection().scalar(sa.text("SELECT connection_id()"))
    with engine.connect() as other:
        other.exec_driver_sql(f"KILL {mine}")


def hide_ours(_session: so.Session) -> None:
    """Keep the database of opsapp from being written."""
    url = os.environ["OPSAPP_DATABASE_URL"]
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        _broken.append(connection)
        return
    name = sa.make_url(url).database
    with psycopg.connect(url.replace(f"/{name}?", "/postgres?"), autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")  # type: ignore[arg-type]
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )


def remove_folder(_session: so.Session) -> None:
    """Remove the folder of a receipt."""
    shutil.rmtree(os.environ["RECEIPTS"])


def create_app() -> Flask:
    app = relation_app.create_app()
    Ops(app, db, erase=db.session.delete)
    return app


if os.environ.get("BREAK"):
    _moment, _, _how = os.environ["BREAK"].partition(":")
    event.listen(db.session, _moment, globals()[_how])
