"""Applications of tests/apps with opsapp attached to them, and its tables made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask import Flask
from flask.cli import cli as flask_cli
from flask_sqlalchemy import SQLAlchemy

from opsapp import clock
from opsapp.database import setup
from opsapp.models import AuditEvent, RoleEnd
from opsapp.ops.attached import attach
from opsapp.ops.sessions import Sessions
from opsapp.ops.subjects import this_identity
from tests.support import APART, SECRETS, Cli, Database, Result, a_unit, in_process

EMAIL = "bob@example.com"
OURS = {"OPSAPP_AUDIT_KEY": SECRETS["OPSAPP_AUDIT_KEY"]}


class Theirs:
    """An application with a context, to which opsapp is attached."""

    def __init__(self, app: Flask, module: Any) -> None:
        self.app = app
        self.module = module
        self.db = module.db
        self.path: str | None = None

    def add(self, *rows: Any) -> None:
        """Let the application's own code write rows."""
        self.db.session.add_all(rows)
        self.db.session.commit()

    def call(self, *words: str, stdin: str | None = None) -> Result:
        """Run ``flask ops WORDS`` on the same database, in this process, without a terminal."""
        path = self.path or f"{self.module.__name__}:create_app"
        environ = {"FLASK_APP": path, "FLASK_SKIP_DOTENV": "1", **OURS}
        self.db.session.remove()
        runner = CliRunner(env=environ, **APART)
        done = runner.invoke(flask_cli, ["ops", *words], input=stdin, prog_name="flask")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        # The number tells how much of the application's own code was observed before.
        stderr = re.sub(r"audit event \d+", "audit event N", done.stderr)
        return Result(done.exit_code, done.stdout, stderr)

    def runs(self, path: str) -> None:
        """Let commands run another application on the same database."""
        self.path = path

    def get(self, reference: str) -> Any:
        """The account as it is in the database now."""
        self.db.session.expire_all()
        return this_identity().get(self.db.session(), reference)

    @property
    def actions(self) -> list[tuple[str, str]]:
        """The action and the subject of each event of a command about accounts."""
        query = sa.select(AuditEvent.action, AuditEvent.subject).order_by(AuditEvent.seq)
        query = query.where(AuditEvent.subject != "database", AuditEvent.door == "cli")
        return [(action, subject) for action, subject in self.db.session.execute(query)]

    def event(self, action: str) -> tuple[Any, Any]:
        """The two sides of the last event of this action."""
        query = sa.select(AuditEvent.before, AuditEvent.after).where(AuditEvent.action == action)
        [row] = self.db.session.execute(query.order_by(AuditEvent.seq.desc()).limit(1)).all()
        return tuple(row)


@contextmanager
def attached(name: str, database: Database, **parts: Any) -> Iterator[Theirs]:
    module = import_module(f"tests.apps.{name}")
    app: Flask = module.create_app()
    app.config.update(OURS)
    state = attach(app, Sessions(module.db.session, module.db), parts)
    with app.app_context():
        module.db.create_all()
    with app.app_context(), state.as_command():
        setup.init(wal=False, unit=a_unit())
        yield Theirs(app, module)


Attach = Callable[..., Theirs]


@pytest.fixture
def attach_to(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Attach]:
    """A function that attaches opsapp to an application of tests/apps."""
    monkeypatch.setenv("THEIR_DATABASE_URL", empty_database.url)
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path / "migrations"))
    monkeypatch.setenv("OPSAPP_INSTANCE", str(tmp_path / "instance"))
    with ExitStack() as stack:
        yield lambda name, **parts: stack.enter_context(attached(name, empty_database, **parts))


def bob(theirs: Theirs) -> None:
    """An account without a role."""
    app = theirs.module.__name__.rpartition(".")[2]
    values: dict[str, Any] = {"email": EMAIL}
    match app:
        case "flag_app":
            values |= {"domain_name": "example.com"}
        case "uuid_app":
            values = {"email_address": EMAIL}
        case "security_app":
            values |= {"active": True, "fs_uniquifier": "bob"}
        case "relation_app":
            values |= {"active": True}
    theirs.add(this_identity().model(**values))
    if hasattr(theirs.module, "Role"):
        theirs.add(theirs.module.Role(name="support"), theirs.module.Role(name="admin"))


def let_end(theirs: Theirs) -> None:
    """Let every end lie in the past, behind opsapp's back."""
    theirs.db.session.rollback()
    past = sa.update(RoleEnd).values(valid_until=clock.now() - timedelta(days=1))
    with theirs.db.engine.execution_options(writing=True).begin() as connection:
        connection.execute(past)


def memory_app(**config: Any) -> tuple[Flask, SQLAlchemy]:
    """An application with a database in memory, and its Flask-SQLAlchemy."""
    app, theirs = Flask("theirs"), SQLAlchemy()
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", **config)
    theirs.init_app(app)
    return app, theirs


Start = Callable[..., Cli]


@pytest.fixture
def start(empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Start:
    """A function that runs commands on an application of tests/apps, with its tables made."""

    def on(name: str, *, with_ops: bool = False) -> Cli:
        cli = in_process(empty_database, monkeypatch)
        path = f"with_ops:create_app('{name}')" if with_ops else f"{name}:create_app"
        monkeypatch.setenv("FLASK_APP", f"tests.apps.{path}")
        monkeypatch.setenv("OPSAPP_INSTANCE", str(tmp_path / "ops"))
        monkeypatch.setenv("THEIR_DATABASE_URL", empty_database.url)
        monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path / "migrations"))
        for setting in ("OPSAPP_DATABASE_URL", "SECRET_KEY", "SECURITY_PASSWORD_SALT"):
            monkeypatch.delenv(setting, raising=False)
        module = import_module(f"tests.apps.{name}")
        with module.create_app().app_context():
            module.db.create_all()
            module.db.engine.dispose()
        return cli

    return on
