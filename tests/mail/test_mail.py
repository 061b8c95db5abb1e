"""`flask mail list`: what waits, and never what it says."""

from __future__ import annotations

import pytest

from tests.support import Cli, Database

SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
HEADER = "id\tkind\trecipient\tstate\tattempts\tnext_at\terror\n"


@pytest.fixture
def outbox(database: Database, cli: Cli) -> None:
    """A message that was sent, one that waits, and one that was given up."""
    database.execute(
        "INSERT INTO ops_mail_messages (kind, recipient, subject, body, created_at, attempts,"
        " next_at, sent_at, error) VALUES"
        " ('welcome', 'grace@example.com', 'opsapp: Welcome', '', :one, 1, NULL, :two, NULL),"
        " ('reset', 'heidi@example.com', 'Reset', 'sealed', :one, 2, :later, NULL, 'a\x1b[31m'),"
        " ('welcome', 'ivan@example.com', 'opsapp: Welcome', '', :one, 9, NULL, NULL, 'no')",
        one="2026-01-01 10:00:00.000000",
        two="2026-01-01 10:00:01.500000",
        later="2090-01-01 00:00:00.000000",
    )


def test_list_shows_the_newest_first_and_no_text(cli: Cli, outbox: None) -> None:
    found = cli("mail", "list", "--format", "table")
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == (
        "id  kind     recipient          state     attempts  next_at               error\n"
        " 3  welcome  ivan@example.com   given up         9  –                     no\n"
        " 2  reset    heidi@example.com  waiting          2  2090-01-01 00:00:00Z  a\\x1b[31m\n"
        " 1  welcome  grace@example.com  sent             1  –                     –\n"
    )


def test_list_of_what_waits_as_json(cli: Cli, outbox: None) -> None:
    found = cli("mail", "list", "--pending", "--format", "json")
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == (
        "[\n"
        '  {"id": 2, "kind": "reset", "recipient": "heidi@example.com", "subject": "Reset",'
        ' "state": "waiting", "created_at": "2026-01-01T10:00:00Z", "attempts": 2,'
        ' "next_at": "2090-01-01T00:00:00Z", "sent_at": null, "error": "a\\u001b[31m"}\n'
        "]\n"
    )


@SQLITE
def test_list_shows_so_many_at_most(cli: Cli, outbox: None) -> None:
    assert cli("mail", "list", "--limit", "1", "--fields", "id").stdout == "id\n3\n"
    assert cli("mail", "list", "--all", "--fields", "id,sent_at").stdout == (
        "id\tsent_at\n3\t\n2\t\n1\t2026-01-01T10:00:01.500000Z\n"
    )


@SQLITE
def test_list_of_nothing(cli: Cli) -> None:
    assert cli("mail", "list").stdout == HEADER
    assert cli("mail", "list", "--format", "json").stdout == "[]\n"
