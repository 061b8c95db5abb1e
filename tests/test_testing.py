"""The fixtures that opsapp brings for the tests of an application."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import make_url

import opsapp
from opsapp.accounts import users
from opsapp.extensions import db
from opsapp.testing import Result, Template
from opsapp.unit.work import Unit

Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def ops_create_app() -> Callable[[], Flask]:
    return opsapp.create_app


@pytest.mark.parametrize("round", [1, 2])
def test_each_test_has_a_database_of_its_own(
    ops_app: Flask, ops_cli: Cli, ops_unit: Callable[..., Unit], round: int
) -> None:
    with ops_app.app_context():
        users.create("ada@example.com", username="ada", unit=ops_unit(reason="a test"))
    done = ops_cli("users", "list", "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [user["id"] for user in done.json] == [1]
    assert ops_app.test_client().get("/healthz").status_code == 200
    events = ops_cli("audit", "list", "--format", "json").json
    assert [event["reason"] for event in events if event["action"] == "user:account:create"] == [
        "a test"
    ]


def test_command_that_fails_says_so(ops_cli: Cli) -> None:
    done = ops_cli("users", "show", "nobody")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == "Error: no user nobody\n  → flask users list --search TEXT\n"


def test_command_reads_its_stdin(ops_cli: Cli) -> None:
    done = ops_cli(
        *("users", "create", "ada@example.com", "--username", "ada", "--password-stdin"),
        stdin="correct horse battery staple\n",
    )
    assert done.exit_code == 0, done.stderr
    assert len(ops_cli("users", "list", "--format", "json").json) == 1


def test_commands_leave_the_application_as_it_was(ops_app: Flask, ops_cli: Cli) -> None:
    create = ("create-admin", "ada", "ada@example.com", "--password-stdin")
    assert ops_cli(*create, stdin="correct horse battery staple\n").exit_code == 0
    before = dict(ops_app.config)
    for command in (
        ("profile", "request", "GET", "/api/me", "--as", "ada", "--repeat", "1"),
        *(("shell", mode, "--web", "-c", "client.as_('ada').get('/api/me')")
          for mode in ("--write", "--read-only", "--sandbox")),
    ):  # fmt: skip
        done = ops_cli(*command)
        assert (done.exit_code, command) == (0, command), done.stderr
        assert ops_app.test_client().get("/api/me").status_code == 401
        assert dict(ops_app.config) == before
        with ops_app.app_context():
            password = db.session.execute(sa.text("SELECT password AS p FROM ops_users")).scalar()
            raw = db.session.connection().connection.cursor()
            raw.execute("SELECT password FROM ops_users")
            assert raw.fetchone() == (password,)
        assert password.startswith("$argon2")


def test_word_of_a_command_may_be_a_path_or_a_number(ops_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("email,username\nada@example.com,ada\n")
    assert ops_cli("users", "import", file).exit_code == 0
    done = ops_cli("users", "show", 1, "--format", "json")
    assert (done.exit_code, done.stderr, done.json["email"]) == (0, "", "ada@example.com")


def test_application_that_is_not_built_on_opsapp_is_a_line(tmp_path: Path) -> None:
    template = Template(tmp_path / "instance", None)
    with pytest.raises(pytest.fail.Exception) as failed:
        template.run(lambda: Flask("blog"), "db", "init")
    assert (failed.value.msg, failed.value.pytrace) == (
        "blog is not built on opsapp: the fixtures ops_… are for applications that are",
        False,
    )


def test_settings_of_the_developer_do_not_reach_a_test(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("OPSAPP_NAME", "mine")
    monkeypatch.setenv("OPSAPP_ENV", "production")
    app = request.getfixturevalue("ops_app")
    assert (app.config["APP_NAME"], app.config["OPSAPP_ENV"]) == ("opsapp", "development")


def test_databases_of_a_server_are_copies_and_are_dropped(postgres: str, tmp_path: Path) -> None:
    server = postgres.format("postgres")
    template = Template(tmp_path / "template", server)
    template.create()
    template.run(opsapp.create_app, "db", "init")
    with template.copy(tmp_path / "instance") as copy, pytest.MonkeyPatch.context() as patch:
        copy.use(patch)
        app = opsapp.create_app()
        with app.app_context():
            assert make_url(copy.url).database == db.engine.url.database
            assert db.session.scalar(sa.text("SELECT count(*) FROM ops_roles")) == 1
            db.session.remove()
            for engine in db.engines.values():
                engine.dispose()
    template.drop()
    engine = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        names = connection.scalars(sa.text("SELECT datname FROM pg_database"))
        assert not [name for name in names if name.startswith("opsapp_test_")]
    engine.dispose()


def test_only_pytest_imports_the_fixtures() -> None:
    code = "import sys, opsapp.entrypoints, opsapp; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
