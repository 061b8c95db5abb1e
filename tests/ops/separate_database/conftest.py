"""Applications whose tables and ours are in two databases."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import Ops
from opsapp.extensions import db as ours_of
from opsapp.ops import seal
from opsapp.ops.observer import MARK
from tests.apps import relation_app
from tests.ops.conftest import OURS
from tests.support import Database, Result, mariadb, run
from tests.support.templates import Templates

_numbers = itertools.count()
PAIRS = (("sqlite", "sqlite"), ("sqlite", "postgresql"), ("mariadb", "postgresql"))
"""The database of the application, and that of opsapp."""


class Installation:
    """An application with two accounts and a role, whose commands are processes."""

    def __init__(self, theirs: str, ours: Database, folder: Path) -> None:
        self.theirs = theirs
        self.ours = ours
        self.environ = {
            "FLASK_APP": "tests.apps.breaking:create_app",
            "THEIR_DATABASE_URL": theirs,
            "THEIR_MIGRATIONS": str(folder / "migrations"),
            **OURS,
        }

    def run(self, *words: str, check: bool = False, **environ: str) -> Result:
        """Run ``flask ops WORDS``."""
        return run(self.ours, "ops", *words, check=check, **{**self.environ, **environ})

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return rows of the application's database."""
        with self._connected() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def execute(self, statement: str) -> None:
        """Change the application's database."""
        with self._connected() as connection:
            connection.execute(sa.text(statement))

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(self.theirs)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    @property
    def roles(self) -> list[tuple[Any, ...]]:
        """The accounts that hold a role."""
        return self.rows("SELECT user_id FROM ab_user_role ORDER BY user_id")

    @property
    def ends(self) -> list[tuple[Any, ...]]:
        """The ends of roles that we keep."""
        return self.ours.rows("SELECT subject, role FROM ops_role_ends")

    @property
    def events(self) -> list[tuple[int, str, str]]:
        """The number, the action and the subject of each event after the first."""
        query = "SELECT seq, action, subject FROM ops_audit_events WHERE seq > 1 ORDER BY seq"
        return [(seq, action, subject) for seq, action, subject in self.ours.rows(query)]


@pytest.fixture(scope="session")
def maria() -> Iterator[str]:
    """The URL of a MariaDB server of this test process, without a database name."""
    if not mariadb.is_installed():
        pytest.skip(mariadb.MISSING)
    # The path of a socket is at most 107 characters long.
    with (
        tempfile.TemporaryDirectory(prefix="opsapp-maria-") as folder,
        mariadb.started(Path(folder)) as url,
    ):
        yield url


@pytest.fixture
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an application's database, of the kind that the test asks for."""
    if getattr(request, "param", "mariadb") == "sqlite":
        yield f"sqlite:///{tmp_path}/theirs.sqlite"
        return
    server, name = request.getfixturevalue("maria"), f"theirs_{next(_numbers)}"
    mariadb.administer(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield server.format(name)
    mariadb.administer(server, f"DROP DATABASE {name}")


@pytest.fixture
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database for our tables, of the kind that the test asks for."""
    kind = getattr(request, "param", "sqlite")
    templates: Templates = request.getfixturevalue(f"{kind}_templates")
    with templates.empty(tmp_path / "instance") as database:
        yield database


@pytest.fixture
def installation(
    theirs: str, ours: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """An application with ada and bob, and the role admin, which bob holds."""
    installation = Installation(theirs, ours, tmp_path)
    for name, value in installation.environ.items():
        monkeypatch.setenv(name, value)
    app, db = relation_app.create_app(), relation_app.db
    with app.app_context():
        db.create_all()
        admin = relation_app.Role(name="admin")
        names = {"ada": [], "bob": [admin]}
        for name, roles in names.items():
            email, word = f"{name}@example.com", "a hash"
            db.session.add(
                relation_app.User(
                    username=name, email=email, password=word, active=True, roles=roles
                )
            )
            db.session.flush()
        db.session.commit()
        db.session.remove()
        db.engine.dispose()
    installation.run("init", check=True)
    return installation


@pytest.fixture
def served(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The application as its server has it, inside of a context."""
    monkeypatch.setenv("OPSAPP_DATABASE_URL", installation.ours.url)
    monkeypatch.setenv("OPSAPP_INSTANCE", str(installation.ours.instance))
    # The thread is tested elsewhere; here the test says when it works.
    monkeypatch.setattr(seal.Sealer, "notify", lambda _self, *, look=False: None)
    app = relation_app.create_app()
    app.config["OPSAPP_PROFILING"] = False
    Ops(app, relation_app.db, keep_admin="refuse")
    with app.app_context():
        yield app
        for engine in ours_of.engines.values():
            engine.dispose()
        relation_app.db.session.remove()


def sealer(app: Flask) -> seal.Sealer:
    it: seal.Sealer = app.extensions[MARK].sealer
    return it


def on(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    """Run a test on these pairs of databases; on every one by default."""
    pairs = pairs or PAIRS
    ids = ["-".join(pair) for pair in pairs]
    return pytest.mark.parametrize(("theirs", "ours"), pairs, indirect=True, ids=ids)
