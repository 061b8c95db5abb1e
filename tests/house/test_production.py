"""Production: real secrets, the stamp, and the name typed before what cannot be undone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support import FLASK, SECRETS, Database, Result, run
from tests.support.templates import BOB, Templates

ENVIRON = {"OPSAPP_ENV": "production", **SECRETS}


@pytest.fixture
def database(templates: Templates, tmp_path: Path) -> Iterator[Database]:
    """A database that was initialised in production, and has Ada and Bob."""
    with templates.copy(tmp_path / "instance", BOB, **ENVIRON) as database:
        yield database


@pytest.fixture
def production(database: Database) -> Callable[..., Result]:
    """Run a command in production."""

    def call(*args: str) -> Result:
        return run(database, *args, **ENVIRON)

    return call


def test_stamp_keeps_a_developer_out_of_production(
    production: Callable[..., Result], database: Database
) -> None:
    found = run(database, "roles", "create", "oops")
    assert (found.exit_code, found.stdout, found.stderr) == (
        5,
        "",
        "Error: this database is stamped production, and OPSAPP_ENV is development\n"
        "  → flask doctor\n",
    )
    assert production("roles", "create", "fine").exit_code == 0


def test_severe_change_needs_the_name_even_with_yes(production: Callable[..., Result]) -> None:
    question = "Erase the personal data of bob@example.com (id 2) for good?"
    found = production("users", "delete", "bob@example.com", "--yes")
    assert (found.exit_code, found.stderr) == (
        5,
        f"Error: {question} This is production\n  → add --confirm production\n",
    )
    found = production("users", "delete", "bob@example.com", "--confirm", "staging")
    assert (found.exit_code, found.stderr) == (
        5,
        "Error: staging is not production; nothing was changed\n",
    )
    assert (
        production("users", "delete", "bob@example.com", "--confirm", "production").exit_code == 0
    )


def test_severe_change_asks_to_type_the_name_on_a_terminal(
    production: Callable[..., Result], database: Database
) -> None:
    terminal = pexpect.spawn(
        FLASK,
        ["users", "delete", "bob@example.com"],
        env={**database.environ, **ENVIRON, "NO_COLOR": "1"},  # type: ignore[arg-type]
        cwd=str(database.instance),
        timeout=60,
        encoding="utf-8",
    )
    terminal.expect("Type production to go on: ")
    terminal.sendline("yes")
    terminal.expect("Error: yes is not production; nothing was changed")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 5
    assert production("users", "show", "bob@example.com").exit_code == 0


def test_reversible_change_needs_no_name(production: Callable[..., Result]) -> None:
    assert production("users", "deactivate", "--search", "bob", "--yes").exit_code == 0


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_secret_may_come_from_a_file(
    production: Callable[..., Result], database: Database, name: str
) -> None:
    file = database.instance / "secret"
    file.write_text(SECRETS[name] + "\n")
    environ = {k: v for k, v in ENVIRON.items() if k != name}
    found = run(database, "audit", "verify", **environ, **{f"{name}_FILE": str(file)})
    assert found.exit_code == 0, found.stderr
    missing = {**environ, f"{name}_FILE": "/nowhere/at.all"}
    found = run(database, "audit", "verify", **missing)
    assert found.exit_code == 7
    make = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
    advice = f"  → for a new installation: {make}\n"
    assert found.stderr == f"Error: {name}_FILE /nowhere/at.all is not a file\n{advice}"
    file.write_bytes(bytes(range(128, 160)))
    found = run(database, "audit", "verify", **environ, **{f"{name}_FILE": str(file)})
    assert found.exit_code == 7
    assert found.stderr == f"Error: {name}_FILE {file} is not text, but raw bytes\n{advice}"


OTHER_KEY = (
    "Error: OPSAPP_AUDIT_KEY does not match the key of this database's audit log\n"
    "  → flask doctor --settings\n"
)


def test_another_audit_key_does_not_verify_the_chain(
    production: Callable[..., Result], database: Database
) -> None:
    environ = {**ENVIRON, "OPSAPP_AUDIT_KEY": "zzz-" + ENVIRON["OPSAPP_AUDIT_KEY"]}
    done = run(database, "audit", "verify", **environ)
    assert (done.exit_code, done.stdout, done.stderr) == (7, "", OTHER_KEY)


def test_another_audit_key_writes_nothing(
    production: Callable[..., Result], database: Database
) -> None:
    environ = {**ENVIRON, "OPSAPP_AUDIT_KEY": "zzz-" + ENVIRON["OPSAPP_AUDIT_KEY"]}
    done = run(database, "roles", "create", "support", **environ)
    assert (done.exit_code, done.stderr) == (7, OTHER_KEY)
    assert run(database, "doctor", **environ).exit_code == 6
    assert production("audit", "verify").exit_code == 0


def test_secrets_must_differ(empty_database: Database) -> None:
    same = dict.fromkeys(SECRETS, SECRETS["SECRET_KEY"])
    found = run(empty_database, "users", "list", OPSAPP_ENV="production", **same)
    assert found.exit_code == 7
    assert "must differ from each other" in found.stderr


def test_no_secret_is_in_the_arguments_of_pg_dump(
    production: Callable[..., Result], database: Database
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite needs no program")
    programs = database.instance / "programs"
    programs.mkdir()
    (programs / "pg_dump").write_text('#!/bin/sh\necho "$*" >&2; echo "$PGPASSWORD" >&2; exit 1\n')
    (programs / "pg_dump").chmod(0o755)
    url = database.url.replace("postgres:@", "postgres:canary-secret@")
    found = subprocess.run(
        [FLASK, "db", "backup", "copy"],
        env={**database.environ, **ENVIRON, "OPSAPP_DATABASE_URL": url,
             "PATH": f"{programs}:/usr/bin:/bin"},
        cwd=database.instance,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    # The last line of its stderr is its reason: here the password, to show that it got it.
    assert (found.returncode, found.stderr) == (1, "Error: pg_dump failed: canary-secret\n")
