"""Every command of the click tree keeps the contract: formats, dry run, audit, twice is once."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import click
import pytest

from opsapp.accounts import listing, logins
from opsapp.cli.decorators import ANSWERS, CHANGES, WORKS
from opsapp.jobs import runs
from opsapp.profiling.record import prof_files, recorder
from opsapp.profiling.reports import totals, traces
from tests.support import PASSWORD, Cli, Database
from tests.support.command_tree import commands
from tests.support.jobwork import past
from tests.support.templates import BOB, Commands

TABLES = (
    "ops_users",
    "ops_roles",
    "ops_grants",
    "ops_access_reviews",
    "ops_access_review_items",
    "ops_user_sessions",
    "ops_api_tokens",
    "ops_logins",
    "ops_login_failures",
    "ops_mail_messages",
    "ops_audit_events",
    "ops_audit_head",
    "ops_audit_personal",
    "ops_audit_pending",
    "ops_role_ends",
)


def kind(command: click.Command) -> str | None:
    return getattr(command.callback, "kind", None)


CHANGING = sorted(path for path, command in commands().items() if kind(command) == CHANGES)
WORKING = sorted(path for path, command in commands().items() if kind(command) == WORKS)
READING = sorted(path for path, command in commands().items() if kind(command) == ANSWERS)

# What each changing command is called with, after `before` was run. With a password
# it is always the same one, so that the second run finds it set already.
CALLS: dict[str, dict[str, Any]] = {
    "audit rebase": {"args": ["--checkpoint", "{kept}", "--yes"]},
    "create-admin": {
        "args": ["carol", "carol@example.com", "--password-stdin", "--if-exists", "update"],
    },
    "db init": {"args": []},
    "init-db": {"args": []},
    "jobs prune": {"args": ["--keep", "1", "--yes"]},
    "roles apply": {"args": ["{roles}", "--prune", "--yes"]},
    "roles review decide": {"args": ["1", "revoke", "bob"]},
    "roles review finish": {"args": ["1", "--yes"]},
    "roles review start": {"args": ["--role", "held", "--until", "2090-12-31"]},
    "roles allow": {"args": ["support", "users:read"]},
    "roles create": {"args": ["auditors", "--allow", "audit:read", "--if-exists", "keep"]},
    "roles delete": {"args": ["support", "--yes"]},
    "roles deny": {"args": ["support", "roles:read"]},
    "roles expire": {"args": []},
    "roles grant": {"args": ["support", "bob", "--until", "2090-12-31"]},
    "roles revoke": {"args": ["held", "bob"]},
    "roles update": {"args": ["support", "--name", "helpdesk"]},
    "users activate": {"args": ["idle@example.com"]},
    "users create": {
        "args": [
            *("dan@example.com", "--role", "support", "--password-stdin"),
            *("--if-exists", "keep"),
        ],
    },
    "users create-admin": {
        "args": ["carol@example.com", "--password-stdin", "--if-exists", "update"],
    },
    "users deactivate": {"args": ["--search", "bob", "--yes"]},
    "users delete": {"args": ["bob@example.com", "--yes"]},
    "users import": {"args": ["{people}"]},
    "users logins prune": {"args": ["--older-than", "30d", "--yes"]},
    "users offboard": {"args": ["bob", "--yes"]},
    "users reset-access": {"args": ["bob", "--yes"]},
    "users send-reset": {"args": ["bob"]},
    "users sessions end": {"args": ["bob", "--yes"]},
    "users set-password": {"args": ["bob", "--password-stdin"]},
    "users tokens create": {"args": ["bob", "ci", "--if-exists", "keep"]},
    "users tokens revoke": {"args": ["bob", "held", "--yes"]},
    "users unlock": {"args": ["bob"]},
    "users update": {"args": ["idle@example.com", "--username", "idler"]},
}

FILES = {"kept": "kept", "people": "people.csv", "roles": "roles.toml"}

# These change nothing in a database that is made ready; other tests see them change it.
ALREADY_DONE = {"db init", "init-db"}
# These write a new file each time, read one or need a second database; tests/ops has applications
# to attach to, and among them those that leave something to settle.
ELSEWHERE = {
    "audit settle",
    "db backup",
    "db copy",
    "db restore",
    "users personal-data",
    *(path for path in CHANGING if path.startswith("ops ")),
}


@pytest.fixture
def after_preparation() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support", "--allow", "roles:read"),
        ("roles", "create", "held"),
        ("roles", "create", "ended"),
        ("roles", "grant", "held", "bob"),
        ("roles", "grant", "ended", "bob", "--for", "1h"),
        ("users", "create", "idle@example.com", "--no-password"),
        ("users", "deactivate", "idle@example.com"),
        ("users", "tokens", "create", "bob", "held"),
        ("roles", "review", "start", "--until", "2090-12-31"),
    )


@pytest.fixture
def prepared(
    cli: Cli, database: Database, after_preparation: Commands, monkeypatch: pytest.MonkeyPatch
) -> Database:
    """A database in which every changing command has something to change."""
    monkeypatch.setenv("OPSAPP_URL", "https://ops.example.com")
    (database.instance / "kept").write_text(cli("audit", "checkpoint", check=True).stdout)
    (database.instance / "people.csv").write_text("email,roles\neve@example.com,support\n")
    (database.instance / "roles.toml").write_text("[roles.support]\n[roles.held]\n[grants.held]\n")
    database.execute(
        "UPDATE ops_users SET tf_primary_method = 'authenticator' WHERE username = 'bob'"
    )
    database.lock_out("bob")
    database.execute(
        "INSERT INTO ops_user_sessions (user_id, key, uniquifier, opened_at, seen_at, expires_at)"
        " SELECT id, 'key', fs_uniquifier, created_at, created_at, '2090-01-01 00:00:00.000000'"
        " FROM ops_users WHERE username = 'bob'"
    )
    database.execute(
        "INSERT INTO ops_logins (at, identity, outcome)"
        " VALUES ('2020-01-01 00:00:00.000000', 'x', 'unknown')"
    )
    for _run in range(2):
        past(database, "a", at=datetime(2020, 1, 1, tzinfo=UTC))
    database.execute(
        "UPDATE ops_grants SET valid_until = '2020-01-01 00:00:00.000000'"
        " WHERE valid_until IS NOT NULL"
    )
    return database


def snapshot(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {table: database.rows(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


def call(cli: Cli, database: Database, path: str, *more: str) -> Any:
    files = {name: database.instance / file for name, file in FILES.items()}
    args = [arg.format(**files) for arg in CALLS[path]["args"]]
    return cli(*path.split(), *args, *more, "--format", "json", stdin=PASSWORD + "\n")


ALL = ("--limit", "1000", "--format", "json")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def told(change: dict[str, Any], name: str) -> tuple[Any, ...]:
    """A step of a plan, or the event that it became, without what only one of them can have.

    A time that counts from now is another one in the run.
    """
    before, after = (
        {
            key: comparable(value)
            for key, value in (change[side] or {}).items()
            if key not in ONLY_PLANNED and key not in ONLY_WRITTEN
        }
        for side in ("before", "after")
    )
    if change["action"] in RENAMING or name.startswith("review:"):
        name = ""
    return change["action"], name, before, after


RENAMING = {
    *("user:account:delete", "role:definition:delete", "role:definition:update"),
    "user:account:import",
}
"""The changes after which their subject has another name, or none. A review has its number, which
PostgreSQL does not use again after the plan."""
ONLY_PLANNED = {"accounts"}
"""The names of the accounts that an import would create; its event has their ids."""
ONLY_WRITTEN = {"ids", "fingerprint"}


def comparable(value: Any) -> Any:
    match value:
        case str():
            return _TIME.sub("TIME", value)
        case [{"holders": _}, *_]:  # By name in the plan, by id in the event.
            return [{**gift, "holders": len(gift["holders"])} for gift in value]
    return value


Credentials = dict[str, tuple[int, int]]


def live_credentials(database: Database) -> Credentials:
    """The numbers of sessions and tokens that work, by address."""
    counts = ", ".join(
        f"(SELECT count(*) FROM {table} c WHERE c.user_id = u.id AND c.ended_at IS NULL"
        " AND c.uniquifier = u.fs_uniquifier AND u.active)"
        for table in ("ops_user_sessions", "ops_api_tokens")
    )
    rows = database.rows(f"SELECT id, email, {counts} FROM ops_users u")
    return {email or f"user:{id}": (sessions, tokens) for id, email, sessions, tokens in rows}


def ended(before: Credentials, after: Credentials) -> dict[str, list[str]]:
    """The sessions and tokens that have ended, in words, by account; none without any."""
    ends = {}
    for name, had in before.items():
        counts = [was - is_ for was, is_ in zip(had, after.get(name, (0, 0)), strict=True)]
        words = [
            f"{count} {noun}{'' if count == 1 else 's'}"
            for count, noun in zip(counts, ("session", "token"), strict=True)
            if count > 0
        ]
        if words:
            ends[name] = words
    return ends


OWN_EVENT = {"user:sessions:end", "user:token:revoke"}
"""The changes that are ends themselves, and no effect of another one."""


def assert_ends_are_planned(plan: dict[str, Any], ends: dict[str, list[str]]) -> None:
    if OWN_EVENT & {step["action"] for step in plan["plan"]}:
        return
    for name, words in ends.items():
        effects = [effect for effect in plan["effects"] if effect.endswith(f"of {name}")]
        assert all(any(word in effect for effect in effects) for word in words), (plan, ends)
    said = {e.rpartition(" of ")[2] for e in plan["effects"] if e.startswith("ends ")}
    assert said <= ends.keys()


def lose_events(database: Database) -> None:
    """Make the database look like an older copy: the head is before the last events."""
    if database.is_sqlite:
        database.execute("DROP TRIGGER ops_audit_events_no_delete")
    else:
        database.execute("DROP TRIGGER ops_audit_events_append_only ON ops_audit_events")
    last = database.rows("SELECT seq - 2 FROM ops_audit_head")[0][0]
    hash = database.rows("SELECT hash FROM ops_audit_events WHERE seq = :seq", seq=last)[0][0]
    database.execute("DELETE FROM ops_audit_events WHERE seq > :seq", seq=last)
    database.execute("UPDATE ops_audit_head SET seq = :seq, hash = :hash", seq=last, hash=hash)


def test_table_of_calls_names_every_changing_command() -> None:
    assert sorted({*CALLS, *ELSEWHERE}) == CHANGING


@pytest.mark.parametrize("path", sorted(CALLS))
def test_change_is_planned_then_done_and_audited_then_already_so(
    path: str, cli: Cli, prepared: Database
) -> None:
    if path == "audit rebase":
        lose_events(prepared)
    before, credentials = snapshot(prepared), live_credentials(prepared)
    last = prepared.rows("SELECT seq FROM ops_audit_head")[0][0]

    planned = call(cli, prepared, path, "--dry-run", "--reason", "because")
    assert planned.exit_code == 0, planned.stderr
    assert planned.json["dry_run"] is True
    assert planned.json["changed"] is (path not in ALREADY_DONE)
    assert snapshot(prepared) == before

    done = call(cli, prepared, path, "--reason", "because")
    assert done.exit_code == 0, done.stderr
    assert done.json["changed"] is (path not in ALREADY_DONE)
    if path not in ALREADY_DONE:
        events = [event for event in cli("audit", "list", *ALL).json if event["seq"] > last]
        assert [told(step, step["name"]) for step in planned.json["plan"]] == [
            told(event, event["subject_name"]) for event in events
        ]
        assert {event["reason"] for event in events} == {"because"}
        assert_ends_are_planned(planned.json, ended(credentials, live_credentials(prepared)))

    after = snapshot(prepared)
    again = call(cli, prepared, path, "--reason", "because")
    assert again.exit_code == 0, again.stderr
    assert again.json["changed"] is False
    assert snapshot(prepared) == after


@pytest.mark.parametrize("path", CHANGING)
def test_changing_command_takes_the_options_of_the_contract(path: str) -> None:
    command = commands()[path]
    options = {opt for param in command.params for opt in param.opts}
    assert {"--dry-run", "--reason", "--format", "--fields", "--quiet"} <= options


@pytest.mark.parametrize("path", READING)
def test_reading_command_takes_the_options_of_the_contract(path: str) -> None:
    command = commands()[path]
    options = {opt for param in command.params for opt in param.opts}
    assert {"--format", "--fields"} <= options
    assert "--dry-run" not in options


@pytest.mark.parametrize("path", WORKING)
def test_working_command_takes_the_options_of_the_contract(path: str) -> None:
    command = commands()[path]
    options = {opt for param in command.params for opt in param.opts}
    assert {"--dry-run", "--format", "--fields"} <= options


@pytest.mark.parametrize("path", sorted(commands()))
def test_help_has_a_line_and_an_example(path: str) -> None:
    text = commands()[path].help or ""
    first = text.split("\n")[0]
    assert first.endswith(".")
    assert len(first) < 60
    assert f"flask {path}" in text


# Help does without the services and what they import, so the words stand in both.
KNOWN: dict[tuple[str, str], Collection[str]] = {
    ("jobs history", "status"): runs.STATUSES,
    ("profile report", "by"): totals.KINDS,
    ("profile report", "sort"): totals.SORTS,
    ("profile request", "method"): recorder.METHODS,
    ("profile top", "sort"): prof_files.SORTS,
    ("profile traces", "kind"): traces.KINDS,
    ("users export", "status"): listing.STATUSES,
    ("users list", "sort"): listing.SORTS,
    ("users list", "status"): listing.STATUSES,
    ("users logins list", "outcome"): logins.OUTCOMES,
}


@pytest.mark.parametrize(("path", "name"), KNOWN)
def test_option_knows_every_word_of_its_service(path: str, name: str) -> None:
    command = commands()[path]
    [offered] = [param.type for param in command.params if param.name == name]
    assert isinstance(offered, click.Choice)
    assert sorted(offered.choices) == sorted(KNOWN[path, name])


def test_every_command_is_ours_or_says_nothing_of_itself() -> None:
    known = (CHANGES, ANSWERS, WORKS)
    unknown = {path for path, command in commands().items() if kind(command) not in known}
    # What a job prints is its own, a crontab and TOML are formats, and a shell answers as Python.
    assert unknown == {
        *("completion", "jobs install", "jobs run", "jobs serve", "roles export", "shell"),
    }
