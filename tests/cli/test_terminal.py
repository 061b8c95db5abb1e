"""With an operator at the terminal: questions, hidden passwords, Ctrl-C, Ctrl-D, and following."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pexpect
import pytest

from tests.support import FLASK, PASSWORD, Cli, Database, call
from tests.support.processes import ended, start

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For questions and answers that come before any statement; each test is a process."""


@contextmanager
def terminal(database: Database, *args: str, columns: int = 80) -> Iterator[Any]:
    """``flask ARGS`` with an operator at its terminal."""
    environ = {**database.environ, "NO_COLOR": "1"}
    environ.pop("COLUMNS", None)  # That of the tests' own terminal.
    spawned = pexpect.spawn(
        FLASK,
        list(args),
        env=environ,  # type: ignore[arg-type]
        cwd=str(database.instance),
        timeout=60,
        encoding="utf-8",
        dimensions=(24, columns),
    )
    try:
        yield spawned
    finally:
        spawned.close(force=True)


def ending(spawned: Any) -> tuple[int, str]:
    """Return its exit code, and its output since the last expectation."""
    spawned.expect(pexpect.EOF)
    spawned.close()
    return spawned.exitstatus, spawned.before.replace("\r\n", "\n")


def test_password_is_asked_twice_and_not_shown(database: Database) -> None:
    with terminal(database, "users", "create-admin", "ada@example.com") as ada:
        ada.expect("Password: ")
        ada.sendline(PASSWORD)
        ada.expect("Repeat for confirmation: ")
        ada.sendline(PASSWORD)
        code, screen = ending(ada)
    assert code == 0
    assert PASSWORD not in screen
    assert "Done, audit event 4." in screen
    assert call(database, "doctor").exit_code == 0


@ON_SQLITE
def test_weak_password_is_asked_again(database: Database) -> None:
    with terminal(database, "users", "create-admin", "ada@example.com") as ada:
        for password in ("short", PASSWORD):
            ada.expect("Password: ")
            ada.sendline(password)
            ada.expect("Repeat for confirmation: ")
            ada.sendline(password)
        code, screen = ending(ada)
    assert code == 0, screen


@ON_SQLITE
def test_password_that_differs_is_asked_again(database: Database) -> None:
    with terminal(database, "users", "create-admin", "ada@example.com") as ada:
        for first, second in ((PASSWORD, "something else"), (PASSWORD, PASSWORD)):
            ada.expect("Password: ")
            ada.sendline(first)
            ada.expect("Repeat for confirmation: ")
            ada.sendline(second)
        assert ending(ada)[0] == 0


@pytest.mark.parametrize(
    ("key", "code", "says"),
    [
        ("\x03", 130, "\nStopped by SIGINT: nothing was changed.\n"),
        ("\x04", 5, "Error: the question was not answered; nothing was changed\n"),
    ],
    ids=["Ctrl-C", "Ctrl-D"],
)
def test_question_that_is_broken_off_changes_nothing(
    database: Database, key: str, code: int, says: str
) -> None:
    with terminal(database, "users", "create-admin", "ada@example.com") as ada:
        ada.expect("Password: ")
        ada.send(key)
        ended, screen = ending(ada)
    assert (ended, screen.endswith(says)) == (code, True), screen
    assert database.rows("SELECT count(*) FROM ops_users") == [(0,)]


@ON_SQLITE
@pytest.mark.parametrize(
    ("answer", "code", "left"), [("n", 5, 1), ("", 5, 1), ("y", 0, 0)], ids=["no", "enter", "yes"]
)
def test_deletion_asks_and_heeds_the_answer(
    database: Database, cli: Cli, bob: str, answer: str, code: int, left: int
) -> None:
    with terminal(database, "users", "delete", "bob") as session:
        session.expect(r"Erase the personal data of bob@example.com \(id 2\) for good\? \[y/N\]: ")
        session.sendline(answer)
        ended, screen = ending(session)
    assert ended == code
    assert ("declined; nothing was changed" in screen) is (code == 5)
    assert database.rows("SELECT count(*) FROM ops_users WHERE email LIKE 'bob%'") == [(left,)]


@ON_SQLITE
def test_question_breaks_no_address_on_a_narrow_terminal(database: Database, cli: Cli) -> None:
    address = "grace.hopper@naval-observatory.example.com"
    cli("users", "create", address, "--no-password", check=True)
    with terminal(database, "users", "delete", address, columns=50) as ada:
        ada.expect_exact(f"Erase the personal data of\r\n{address} (id 1)\r\nfor good? [y/N]: ")
        ada.sendline("n")
        assert ending(ada) == (5, "n\nError: declined; nothing was changed\n")


def test_unknown_account_is_reported_before_a_question(database: Database) -> None:
    with terminal(database, "users", "delete", "nobody") as session:
        assert ending(session) == (
            4,
            "Error: no user nobody\n  → flask users list --search TEXT\n",
        )


def test_follow_shows_what_happens_until_it_is_stopped(database: Database) -> None:
    following = start(
        database, FLASK, "audit", "list", "--follow", "--limit", "1", "--format", "jsonl"
    )
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["seq"] == 2
    call(database, "roles", "create", "one", check=True)
    assert json.loads(following.stdout.readline())["subject_name"] == "one"
    call(database, "roles", "create", "two", check=True)
    assert json.loads(following.stdout.readline())["subject_name"] == "two"
    following.send_signal(signal.SIGINT)
    stopped = ended(following)
    assert (stopped.exit_code, stopped.stdout) == (130, "")
    assert json.loads(stopped.stderr)["message"] == "Stopped by SIGINT: nothing was changed."


@ON_SQLITE
def test_follow_breaks_no_address_on_a_narrow_terminal(database: Database, cli: Cli) -> None:
    address = "grace.hopper@naval-observatory.example.com"
    with terminal(database, "audit", "list", "--follow", "--limit", "1", columns=50) as session:
        session.expect(r" 2 +\d\d:\d\dZ ")
        cli("users", "create", address, "--no-password", "--reason", "on call", check=True)
        session.expect_exact(f"\r\n      {address}\r\n")
        session.expect_exact("— on call\r\n")
        session.sendintr()
        assert ending(session)[0] == 130


def test_follow_has_no_end_for_an_array(cli: Cli) -> None:
    found = cli("audit", "list", "--follow", "--format", "json")
    assert found.exit_code == 2
    assert "use --format jsonl" in found.stderr
