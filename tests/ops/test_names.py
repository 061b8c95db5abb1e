"""Names that an application gives to commands of `flask ops`: ``Ops(commands=…)``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps import relation_app
from tests.ops.conftest import OURS
from tests.support import Database, Result, run

NAMES = {"users": "accounts", "roles": "roles", "shell": "shell", "nosuch": "odd"}


@pytest.fixture
def flask(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_only: None
) -> Callable[..., Result]:
    settings = {
        "FLASK_APP": f"tests.apps.with_ops:create_app('relation_app', commands={NAMES})",
        "THEIR_DATABASE_URL": empty_database.url,
        "THEIR_MIGRATIONS": str(tmp_path / "migrations"),
        **OURS,
    }
    monkeypatch.setenv("THEIR_DATABASE_URL", empty_database.url)
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path / "migrations"))
    with relation_app.create_app().app_context():
        relation_app.db.create_all()
        relation_app.db.session.add(relation_app.User(username="ada", active=True))
        relation_app.db.session.commit()
        relation_app.db.engine.dispose()
    return lambda *words: run(empty_database, *words, **settings)


def test_names_are_commands_beside_those_of_the_application(flask: Callable[..., Result]) -> None:
    listed = flask("--help").stdout
    assert "\n  accounts  The same as flask ops users.\n" in listed
    users = flask("accounts", "list", "--fields", "id,username")
    assert (users.exit_code, users.stdout) == (0, "id\tusername\n1\tada\n")
    # A hint is what may be typed, by whatever name the command was called.
    failed = flask("accounts", "deactivate", "ada", "--yes")
    assert (failed.exit_code, failed.stderr.splitlines()[-1]) == (7, "  → flask ops init")


def test_name_goes_before_that_of_the_application_and_of_flask(
    flask: Callable[..., Result],
) -> None:
    assert flask("roles", "list").stdout == "name\tkind\tholders\tread_only\n"
    assert flask("shell", "--help").stdout.startswith("Usage: flask shell [OPTIONS] [FILE]")
    other = flask("audit", "list")
    assert (other.exit_code, other.stderr.splitlines()[-1]) == (
        2,
        "Error: No such command 'audit'. Did you mean 'ops audit'?",
    )
    odd = flask("odd")
    assert (odd.exit_code, odd.stderr.splitlines()[-1]) == (
        2,
        "Error: Ops(commands=…) names 'nosuch', and flask ops has no such command",
    )
