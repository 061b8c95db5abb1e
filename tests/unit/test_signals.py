"""The signals: sent once the change is committed, with what their documentation says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import cli as flask_cli

import opsapp
from opsapp import signals
from opsapp.accounts import grants, roles, selfservice, signin, users
from opsapp.actors import Actor
from opsapp.cli import confirm
from opsapp.unit.work import Unit
from tests.support import Cli, Database, a_unit, close_connections
from tests.support.web import code_of, set_up, site

SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
GRACE = "grace@example.com"
SIGNALS = dict(signals._signals)
QUESTIONS = {"address-entered": {"email"}, "personal-data": {"user_id"}, "shell-names": set()}
"""Signals that ask instead of announcing, with their fields."""


@dataclass(frozen=True)
class Heard:
    """A signal that was sent."""

    name: str
    payload: dict[str, Any]
    seq: int
    """The last audit event that another connection saw while the receiver ran."""

    @property
    def content(self) -> dict[str, Any]:
        """Return its fields but the actor and the place in the audit."""
        return {k: v for k, v in self.payload.items() if k not in ("actor", "correlation")}


@pytest.fixture
def heard(database: Database) -> Iterator[list[Heard]]:
    """Every signal that is sent."""
    heard: list[Heard] = []

    def listen(name: str) -> Callable[..., None]:
        def receive(_app: Flask, **payload: Any) -> None:
            heard.append(Heard(name, payload, last_seq(database)))

        return receive

    with ExitStack() as stack:
        for name in SIGNALS.keys() - QUESTIONS.keys():
            stack.enter_context(SIGNALS[name].connected_to(listen(name)))
        yield heard


def last_seq(database: Database) -> int:
    return int(database.rows("SELECT max(seq) FROM ops_audit_events")[0][0])


@pytest.fixture
def lean(cli: Cli) -> Iterator[Flask]:
    """The application as commands make it, with a context."""
    with opsapp.without_web():
        app = opsapp.create_app()
    with app.app_context():
        yield app
    close_connections()


# --- changes -----------------------------------------------------------------

Act = Callable[[Unit], object]
UPDATED = ("user-updated", {"user_id": 1})

# One after the other, in one installation; the last signal of each is all-announced.
ACTS: list[tuple[str, Act, list[tuple[str, dict[str, Any]]]]] = [
    ("a role", lambda unit: roles.create("support", unit=unit), []),
    (
        "an account with a role",
        lambda unit: users.create(GRACE, role="support", unit=unit),
        [
            ("user-created", {"user_id": 1}),
            ("role-granted", {"user_id": 1, "role": "support", "grant_id": 1}),
        ],
    ),
    (
        "an address",
        lambda unit: users.update("1", email="grace@example.org", unit=unit),
        [("user-email-changed", {"user_id": 1, "before": GRACE}), UPDATED],
    ),
    ("a username", lambda unit: users.update("1", username="grace", unit=unit), [UPDATED]),
    (
        "a second factor",
        lambda unit: selfservice.set_second_factor(1, "authenticator", "seed", unit=unit),
        [UPDATED, ("second-factor-changed", {"user_id": 1, "method": "authenticator"})],
    ),
    (
        "recovery codes",
        lambda unit: selfservice.set_recovery_codes(1, ["sealed"], unit=unit),
        [UPDATED, ("recovery-codes-set", {"user_id": 1})],
    ),
    (
        "one code less",
        lambda unit: selfservice.use_recovery_code(1, "sealed", unit=unit),
        [("recovery-code-used", {"user_id": 1, "codes_left": 0})],
    ),
    (
        "none any more",
        lambda unit: signin.reset_access("1", unit=unit),
        [UPDATED, ("second-factor-changed", {"user_id": 1, "method": None})],
    ),
    (
        "another end of a grant",
        lambda unit: grants.grant(
            "support", ["1"], until=datetime(2090, 1, 1, tzinfo=UTC), replace_end=True, unit=unit
        ),
        [("role-granted", {"user_id": 1, "role": "support", "grant_id": 2})],
    ),
    (
        "no grant",
        lambda unit: grants.revoke("support", ["1"], unit=unit),
        [("role-revoked", {"user_id": 1, "role": "support", "grant_id": 2})],
    ),
    (
        "no access",
        lambda unit: signin.deactivate(["1"], unit=unit),
        [("user-deactivated", {"user_id": 1})],
    ),
    ("access", lambda unit: signin.activate(["1"], unit=unit), [UPDATED]),
    ("no account", lambda unit: users.delete("1", unit=unit), [("user-deleted", {"user_id": 1})]),
]


def test_each_change_is_announced_after_its_commit(
    lean: Flask, database: Database, heard: list[Heard]
) -> None:
    for what, act, expected in ACTS:
        heard.clear()
        unit = a_unit()
        act(unit)
        assert unit.committed, what
        announced = [(signal.name, signal.content) for signal in heard]
        assert announced == (expected and [*expected, ("all-announced", {})]), what
        for signal in heard:
            # Its event is of the same transaction, and another connection sees it.
            assert signal.seq == unit.seq == last_seq(database), what
            assert signal.payload["actor"] is unit.actor
            assert signal.payload["correlation"] == unit.correlation


@SQLITE
def test_dry_run_announces_nothing(lean: Flask, heard: list[Heard]) -> None:
    for what, act, _expected in ACTS:
        heard.clear()
        unit = a_unit(dry_run=True)
        act(unit)
        assert (unit.changed, heard) == (True, []), what
        act(a_unit())


@SQLITE
def test_change_that_is_undone_announces_nothing(lean: Flask, heard: list[Heard]) -> None:
    def fail() -> None:
        with a_unit() as unit:
            users.create(GRACE, unit=unit)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert heard == []


@SQLITE
def test_changes_of_one_unit_are_announced_together(lean: Flask, heard: list[Heard]) -> None:
    with a_unit() as unit:
        users.create(GRACE, unit=unit)
        users.create("heidi@example.com", unit=unit)
        assert heard == []
    assert [(signal.name, signal.payload.get("user_id")) for signal in heard] == [
        ("user-created", 1),
        ("user-created", 2),
        ("all-announced", None),
    ]


def test_documentation_of_each_signal_names_its_fields() -> None:
    fields = {name: set(payload) for _what, _act, sent in ACTS for name, payload in sent}
    fields |= QUESTIONS
    fields["administrators-added"] = {"user_ids"}
    fields["all-announced"] = set()
    fields["reset-requested"] = {"user_id"}  # Only an application with pages has links.
    fields["user-logged-in"] = {"user_id", "session_id"}
    fields["command-finished"] = {"command", "exit_code", "seconds", "changed"}
    fields["job-started"] = {"name", "run_id"}
    fields["job-finished"] = {"name", "run_id", "status", "exit_code", "seconds"}
    assert fields.keys() == SIGNALS.keys()
    for name, expected in fields.items():
        doc = SIGNALS[name].__doc__ or ""
        assert [field for field in expected if f"``{field}``" not in doc] == [], name


# --- signing in --------------------------------------------------------------


@SQLITE
def test_sign_in_is_announced_once_it_is_complete(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[dict[str, Any], list[tuple[Any, ...]]]] = []

    def receive(_app: Flask, **payload: Any) -> None:
        heard.append((payload, database.rows("SELECT max(id) FROM ops_user_sessions")))

    with site(database, monkeypatch) as web:
        web.make("ada@example.com", role="admin")
        totp = set_up(web.browser("ada@example.com"))
        with signals.user_logged_in.connected_to(receive, web.app):
            browser = web.browser()
            browser.sign_in("ada@example.com", "wrong")
            browser.sign_in("ada@example.com")
            assert heard == []  # Without its code the password opens nothing.
            browser.post("/tf-validate", {"code": code_of(totp, 1)}, at="/tf-validate")
            assert browser.is_in
    ((payload, sessions),) = heard
    assert payload.keys() == {"actor", "user_id", "session_id"}
    assert isinstance(payload["actor"], Actor)
    assert (payload["actor"].kind, payload["actor"].name) == ("user", "user:1")
    assert (payload["user_id"], [(payload["session_id"],)]) == (1, sessions)


# --- commands ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "command", "exit_code", "changed"),
    [
        (["roles", "create", "other"], "roles create", 0, True),
        (["users", "tokens", "create", GRACE, "ci"], "users tokens create", 0, True),
        (["roles", "create", "other", "--dry-run"], "roles create", 0, False),
        (["roles", "create", "support", "--if-exists", "keep"], "roles create", 0, False),
        (["roles", "list"], "roles list", 0, False),
        (["users", "create", "no address", "--no-password"], "users create", 2, False),
        (["roles", "create", "support"], "roles create", 3, False),
        (["roles", "show", "nothing"], "roles show", 4, False),
        (["users", "delete", GRACE], "users delete", 5, False),
        (["users", "can", GRACE, "users:read"], "users can", 6, False),
        (["jobs", "run", "probe", "--", "sh", "-c", "exit 9"], "jobs run", 9, False),
    ],
)
@SQLITE
def test_command_that_ended_is_announced(
    cli: Cli,
    database: Database,
    heard: list[Heard],
    args: list[str],
    command: str,
    exit_code: int,
    changed: bool,
) -> None:
    cli("users", "create", GRACE, "--no-password", check=True)
    cli("roles", "create", "support", check=True)
    before = last_seq(database)
    heard.clear()
    done = cli(*args)
    assert done.exit_code == exit_code, done.stderr
    finished = heard.pop()
    assert finished.name == "command-finished"
    assert "command-finished" not in [signal.name for signal in heard]
    assert finished.payload.pop("seconds") > 0
    assert isinstance(finished.payload.pop("actor"), Actor)
    assert finished.payload == {"command": command, "exit_code": exit_code, "changed": changed}
    assert finished.seq == before + changed


@SQLITE
def test_command_is_announced_by_its_own_words_however_flask_was_started(
    cli: Cli, heard: list[Heard]
) -> None:
    assert (
        CliRunner().invoke(flask_cli, ["roles", "list"], prog_name="python -m flask").exit_code == 0
    )
    close_connections()
    assert heard.pop().payload["command"] == "roles list"


@SQLITE
def test_command_whose_question_is_not_answered_is_announced_as_it_ends(
    cli: Cli, heard: list[Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("users", "create", GRACE, "--no-password", check=True)
    monkeypatch.setattr(confirm, "is_interactive", lambda: True)
    for stdin, stderr in (
        ("n\n", "Error: declined; nothing was changed\n"),
        ("", "Error: the question was not answered; nothing was changed\n"),
    ):
        done = cli("users", "delete", GRACE, stdin=stdin)
        assert done.exit_code == 5
        assert done.stderr.endswith(stderr)
        assert heard.pop().payload["exit_code"] == 5


@SQLITE
def test_command_that_fails_unexpectedly_is_announced_as_it_ends(
    cli: Cli, heard: list[Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(roles, "listing", fail)
    assert cli("roles", "list").exit_code == 1
    assert heard.pop().payload["exit_code"] == 1


@SQLITE
def test_command_that_was_never_understood_is_not_announced(cli: Cli, heard: list[Heard]) -> None:
    assert cli("roles", "list", "--nothing").exit_code == 2
    assert heard == []
