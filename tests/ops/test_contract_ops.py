"""Every changing command of `flask ops users` and `roles` keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
import sqlalchemy as sa

from opsapp.cli.decorators import CHANGES
from opsapp.commands.ops import roles, users
from opsapp.unit.work import undo
from tests.ops.conftest import Attach, Theirs

WORD = "plenty of rope for 7 goats"
CALLS: dict[str, tuple[str, ...]] = {
    "roles expire": (),
    "roles grant": ("support", "bob", "--until", "2090-12-31"),
    "roles revoke": ("held", "bob"),
    "users activate": ("idle",),
    "users create": ("dan@example.com", "--no-password", "--if-exists", "keep"),
    "users create-admin": ("carol@example.com", "--password-stdin", "--if-exists", "update"),
    "users deactivate": ("bob",),
    "users delete": ("bob", "--yes"),
    "users offboard": ("bob", "--yes"),
    "users set-password": ("bob", "--password-stdin"),
    "users update": ("3", "--username", "idler"),
}
ONCE = {"users delete"}
"""A second run finds nothing: exit code 4."""


def changing() -> Iterator[str]:
    for group in (users.cli, roles.cli):
        for name, command in group.commands.items():
            if getattr(command.callback, "kind", None) == CHANGES:
                yield f"{group.name} {name}"


def erase(user: object) -> None:
    session = sa.inspect(user).session
    session.delete(user)


@pytest.fixture
def kind() -> str:
    """These are about commands, whose services run on both databases elsewhere."""
    return "sqlite"


@pytest.fixture
def prepared(attach_to: Attach) -> Theirs:
    """Flask-Security in which every changing command has something to change."""
    theirs = attach_to("security_app")
    module = theirs.module
    held = module.Role(name="held")
    theirs.add(
        module.User(
            email="ada@example.com", username="ada", active=True, password="hash",
            fs_uniquifier="a", roles=[module.Role(name="admin")],
        ),
        module.User(
            email="bob@example.com", username="bob", active=True, fs_uniquifier="b", roles=[held]
        ),
        module.User(email="idle@example.com", username="idle", active=False, fs_uniquifier="i"),
        module.Role(name="support"),
        module.Role(name="ended"),
    )  # fmt: skip
    theirs.call("roles", "grant", "ended", "bob", "--for", "1h")
    with theirs.db.engine.execution_options(writing=True).begin() as connection:
        connection.execute(sa.text("UPDATE ops_role_ends SET valid_until = '2020-01-01'"))
    return theirs


def state(theirs: Theirs) -> list[object]:
    undo(theirs.db.session())
    tables = ("user", "roles_users", "ops_audit_events", "ops_audit_personal", "ops_role_ends")
    return [
        theirs.db.session.execute(sa.text(f'SELECT * FROM "{table}"')).all() for table in tables
    ]


def test_every_changing_command_has_a_row() -> None:
    assert sorted(CALLS) == sorted(changing())


@pytest.mark.parametrize("path", CALLS)
def test_dry_run_audit_and_second_run(
    prepared: Theirs, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.apps.with_parts.PARTS", {"erase": erase})
    prepared.runs("tests.apps.with_parts:create_app('security_app')")
    words, before = (*path.split(), *CALLS[path]), state(prepared)
    dry = prepared.call(*words, "--dry-run", stdin=WORD)
    assert (dry.exit_code, state(prepared)) == (0, before)
    assert "Dry run: nothing was written." in dry.stderr
    first = prepared.call(*words, "--reason", "a test", stdin=WORD)
    assert first.exit_code == 0, first.stderr
    after = state(prepared)
    assert after != before
    assert after[2] != before[2]
    second = prepared.call(*words, stdin=WORD)
    assert second.exit_code == (4 if path in ONCE else 0)
    assert state(prepared) == after


def test_help_is_short_and_has_an_example() -> None:
    for group in (users.cli, roles.cli):
        for command in group.commands.values():
            assert isinstance(command, click.Command)
            assert len(command.get_short_help_str(100)) < 70
            assert "flask ops" in (command.help or "")
