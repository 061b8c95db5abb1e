"""Modes of `flask shell`: what stays of a program, and what production asks for."""

from __future__ import annotations

import re

import pytest

from tests.support import FLASK, SECRETS, Cli, Database, run
from tests.support.console_play import MAKE, last_session
from tests.support.processes import ended, start

READ_ONLY = "Error: this session is read-only\n  → flask shell --sandbox, or --write\n"
COUNT = "SELECT count(*) FROM ops_users WHERE username = 'carl'"


def test_changes_of_services_stay_and_are_of_the_session(
    database: Database, cli: Cli, ada: str
) -> None:
    result = run(database, "shell", "--reason", "ticket 7", "-c", MAKE)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "carl\n", "")
    assert database.rows(COUNT) == [(1,)]
    id = last_session(cli)["id"]
    events = cli("audit", "list", "--correlation", str(id), "--format", "json").json
    assert [(event["action"], event["door"], event["reason"]) for event in events] == [
        ("console:session:open", "shell", "ticket 7"),
        ("user:account:create", "shell", "ticket 7"),
        ("console:session:close", "shell", None),
    ]


@pytest.mark.parametrize(
    "code",
    [
        MAKE,
        "db.session.execute(sa.text(\"UPDATE ops_users SET username = 'carl'\"))\n"
        "db.session.commit()",
        "with db.engines['bookkeeping'].begin() as c: c.execute(sa.text('DELETE FROM ops_logins'))",
    ],
    ids=["service", "text", "other bind"],
)
def test_read_only_session_writes_nothing(database: Database, ada: str, code: str) -> None:
    result = run(database, "shell", "--read-only", "-c", code)
    assert result.exit_code == 5
    assert result.stderr == READ_ONLY
    assert database.rows(COUNT) == [(0,)]


def test_sandbox_works_and_leaves_nothing(database: Database, cli: Cli, ada: str) -> None:
    script = (
        f"{MAKE}\nusers.update('carl', username='karl')\nprint(U('karl').email)\n"
        "db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))\n"
        "print(commit())\n"
    )
    mail = database.rows("SELECT count(*) FROM ops_mail_messages")
    result = run(database, "shell", "--sandbox", "-c", script)
    assert (result.exit_code, result.stdout) == (
        0, "carl\ncarl@example.com\n{'ops_mail_messages': '1 inserted'}\n",
    ), result.stderr  # fmt: skip
    said = result.stderr.splitlines()
    assert said[0] == "Sandbox: nothing was saved. It would have been:"
    assert said[2] == "  user:account:update user:2: username=carl → username=karl"
    assert said[-2:] == ["  ops_mail_messages: 1 inserted", "  ops_users: 1 inserted, 1 updated"]
    assert database.rows("SELECT count(*) FROM ops_users") == [(1,)]
    assert database.rows("SELECT count(*) FROM ops_mail_messages") == mail
    actions = [event["action"] for event in cli("audit", "list", "--format", "json").json]
    assert actions[-2:] == ["console:session:open", "console:session:close"]
    assert not list((database.instance / "sandboxes").glob("*"))
    assert cli("audit", "verify").exit_code == 0


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_sandbox_without_a_place_for_its_copy_is_refused(database: Database, ada: str) -> None:
    (database.instance / "sandboxes").write_text("in the way")
    result = run(database, "shell", "--sandbox", "-c", "print(1)")
    assert (result.exit_code, result.stdout) == (7, "")
    assert re.fullmatch(r"Error: the folder .* cannot be created: Not a directory\n", result.stderr)


def test_sandbox_lets_others_write(database: Database, ada: str) -> None:
    process = start(database, FLASK, "shell", "--sandbox", "-c",
                    f"{MAKE}\nimport sys\nsys.stdout.flush()\ninput()")  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "carl\n"
    other = run(database, "users", "create", "dora@example.com", "--no-password")
    assert other.exit_code == 0, other.stderr
    assert process.stdin is not None
    process.stdin.write("\n")
    assert ended(process).exit_code == 0
    assert database.rows("SELECT email FROM ops_users ORDER BY id") == [
        ("ada@example.com",),
        ("dora@example.com",),
    ]


PRODUCTION = {"OPSAPP_ENV": "production", "OPSAPP_URL": "https://ops.example.com", **SECRETS}


def in_production(database: Database) -> None:
    """Let the database be production's."""
    run(database, "db", "init", check=True, **PRODUCTION)


def test_production_is_read_only_without_a_reason(empty_database: Database) -> None:
    in_production(empty_database)
    result = run(empty_database, "shell", "-c", MAKE, **PRODUCTION)
    assert (result.exit_code, result.stderr) == (5, READ_ONLY)
    for args, says in (
        ((), "needs a reason"),
        (("--reason", "ticket 7"), "This is production"),
        (("--reason", "ticket 7", "--confirm", "development"), "development is not production"),
    ):
        result = run(empty_database, "shell", "--write", *args, "-c", MAKE, **PRODUCTION)
        assert (result.exit_code, result.stdout) == (5, "")
        assert says in result.stderr
    args = ("--write", "--reason", "ticket 7", "--confirm", "production")
    result = run(empty_database, "shell", *args, "-c", MAKE, **PRODUCTION)
    assert (result.exit_code, result.stdout) == (0, "carl\n"), result.stderr
