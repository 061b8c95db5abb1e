"""`Ops` in the process of an application: its engines, sessions and settings."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm as so

import opsapp
from opsapp import Ops, crypto, settings
from opsapp.engine.connections import BOOKKEEPING
from opsapp.extensions import db
from opsapp.mail import outbox
from opsapp.models import MailMessage
from opsapp.ops.attached import Attached
from opsapp.state import attachment_of
from tests.ops.conftest import memory_app
from tests.support import Database

# --- in their process --------------------------------------------------------


def test_in_memory_there_is_no_second_engine() -> None:
    app, theirs = memory_app()
    Ops(app, theirs)
    with app.app_context():
        engine = theirs.engine
        assert db.engine is engine
        assert db.engines[BOOKKEEPING] is engine
        assert db.session is theirs.session
        assert sa.inspect(engine).get_table_names() == []


def test_test_of_the_application_has_no_second_engine(tmp_path: Path) -> None:
    app, theirs = Flask("theirs"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/theirs.sqlite"
    theirs.init_app(app)
    Ops(app, theirs)
    app.config["TESTING"] = True  # Often set after the factory has run.
    with app.app_context():
        assert db.engines[BOOKKEEPING] is theirs.engine
        theirs.engine.dispose()


def test_many_applications_of_a_process_are_apart() -> None:
    ops = Ops()
    first, theirs = memory_app()
    second = Flask("second")
    second.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    theirs.init_app(second)
    for app in (first, second):
        ops.init_app(app, theirs)
    engines = []
    for app in (first, second):
        with app.app_context():
            engines.append(db.engine)
    assert engines[0] is not engines[1]


def test_server_keeps_its_engine_and_has_one_more(tmp_path: Path) -> None:
    app, theirs = Flask("theirs"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/theirs.sqlite"
    theirs.init_app(app)
    with app.app_context():
        engine = theirs.engine
        Ops(app, theirs)
        assert db.engine is engine
        own = db.engines[BOOKKEEPING]
        assert own is not engine
        assert own is db.engines[BOOKKEEPING]
        own.dispose()


def test_command_has_engines_of_ours_and_gives_theirs_back(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THEIR_DATABASE_URL", empty_database.url)
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    module = import_module("tests.apps.login_app")
    app = module.create_app()
    Ops(app, module.db)
    with app.app_context():
        before = module.db.engine
        module.db.create_all()
        module.db.session.execute(sa.select(1))
        with attachment_of(app).as_command():
            assert module.db.engine is not before
            assert module.db.session.get_bind() is module.db.engine
            assert module.db.session.scalar(sa.select(sa.func.count(module.User.id))) == 0
            assert "hide_parameters" not in str(module.db.engine.url)
            assert module.db.engine.hide_parameters
        assert module.db.engine is before
        before.dispose()


def test_session_of_its_own_is_bound_to_our_engine_in_a_command(
    empty_database: Database, tmp_path: Path
) -> None:
    url = empty_database.url.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url)
    session = so.scoped_session(so.sessionmaker(engine))
    app = Flask("bare", instance_path=str(tmp_path))
    Ops(app, session=session, engine=engine)
    attached: Attached = attachment_of(app)
    with app.app_context():
        assert db.session is session
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE things (id INTEGER)"))
        with attached.as_command():
            assert session.get_bind() is db.engine
            assert db.engine is not engine
        assert session.get_bind() is engine
    session.remove()
    engine.dispose()


# --- settings ----------------------------------------------------------------


def test_settings_come_from_app_config_then_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPSAPP_INSTANCE", raising=False)
    app, theirs = Flask("theirs", instance_path=str(tmp_path)), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    theirs.init_app(app)
    Ops(app, theirs)
    with app.app_context():
        assert settings.get("OPSAPP_NAME") == "theirs"
        assert settings.get("OPSAPP_INSTANCE") == tmp_path / "ops"
        key = settings.get("OPSAPP_AUDIT_KEY")
        assert (tmp_path / "ops" / "secrets" / "opsapp_audit_key").read_text() == key
        monkeypatch.setenv("OPSAPP_AUDIT_KEY", "e" * 40)
        assert settings.get("OPSAPP_AUDIT_KEY") == "e" * 40
        app.config["OPSAPP_AUDIT_KEY"] = "c" * 40
        app.config["OPSAPP_INSTANCE"] = str(tmp_path / "elsewhere")
        assert settings.get("OPSAPP_AUDIT_KEY") == "c" * 40
        assert settings.get("OPSAPP_INSTANCE") == tmp_path / "elsewhere"
    assert not {"SECRET_KEY", "MAIL_SERVER"} & {k for k, v in app.config.items() if v}


def test_mail_is_sealed_under_the_audit_key(tmp_path: Path) -> None:
    from cryptography.fernet import InvalidToken

    app, theirs = memory_app(OPSAPP_AUDIT_KEY="k" * 40)
    Ops(app, theirs)
    with app.app_context():
        sealed = crypto.seal("secret", "mail")
        assert crypto.unseal(sealed, "mail") == "secret"
        app.config["OPSAPP_AUDIT_KEY"] = "z" * 40
        with pytest.raises(InvalidToken):
            crypto.unseal(sealed, "mail")


def test_mail_of_another_secret_names_the_secret_of_an_application_of_others() -> None:
    app, theirs = memory_app(OPSAPP_AUDIT_KEY="k" * 43)
    Ops(app, theirs)
    with app.app_context():
        message = MailMessage(kind="notice", recipient="ada@example.com", subject="Hello")
        message.body = crypto.seal("Hello", outbox._PURPOSE)
        app.config["OPSAPP_AUDIT_KEY"] = "o" * 43
        says = "it was sealed under another OPSAPP_AUDIT_KEY"
        assert outbox._deliver(message) == (says, False)


def test_face_gives_ops() -> None:
    assert opsapp.Ops is Ops


@pytest.mark.parametrize(
    "part",
    [{"active": "nothing"}, {"active": (True,)}, {"watch": 7}, {"protect": 7}, {"roles": 7}],
    ids=str,
)
def test_wrong_argument_is_told_and_stops_nothing(
    part: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THEIR_DATABASE_URL", f"sqlite:///{tmp_path}/theirs.sqlite")
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    module = import_module("tests.apps.login_app")
    app = module.create_app()
    Ops(app, module.db, **part)
    with app.app_context():
        module.db.create_all()
        module.db.engine.dispose()
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "changes of accounts are not audited"
    ]
