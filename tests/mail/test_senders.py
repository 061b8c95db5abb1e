"""Two who send at once, and what happens while a server is slow."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from opsapp.mail import outbox
from tests.support import Cli, Database, Result, run
from tests.support.outbox import GRACE, HEADER, keep_waiting, make
from tests.support.post import Office
from tests.support.processes import PATIENCE

SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def test_two_senders_that_found_the_same_message_send_it_once(
    app: Flask, cli: Cli, database: Database, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_waiting(cli, office, database, GRACE)
    both_have_found_it = threading.Barrier(2, timeout=PATIENCE)
    claim = outbox._claim

    def claim_together(id: int) -> Any:
        both_have_found_it.wait()
        return claim(id)

    monkeypatch.setattr(outbox, "_claim", claim_together)

    def send_all(_number: int) -> list[str]:
        with app.app_context():
            return [one["state"] for one in outbox.send_pending()]

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(send_all, range(2))) == [[], ["sent"]]
    assert office.recipients == [GRACE]


def test_message_that_one_process_is_sending_is_left_to_it_by_another(
    cli: Cli, database: Database, office: Office
) -> None:
    keep_waiting(cli, office, database, GRACE)
    others: list[Result] = []
    office.meanwhile = lambda: others.append(run(database, "mail", "send-pending"))
    sent = cli("mail", "send-pending")
    (other,) = others
    assert (other.exit_code, other.stdout) == (0, HEADER)
    assert other.stderr.startswith("Nothing is due: 1 message waits, the next one until ")
    assert (sent.exit_code, sent.stdout, sent.stderr) == (
        0,
        f"{HEADER}1\twelcome\t{GRACE}\tsent\t2\t\t\n",
        "",
    )
    assert office.recipients == [GRACE]


@SQLITE
def test_send_pending_passes_over_what_another_process_took_meanwhile(
    cli: Cli, database: Database, office: Office
) -> None:
    keep_waiting(cli, office, database, GRACE, "heidi@example.com")
    office.meanwhile = lambda: database.execute(
        "UPDATE ops_mail_messages SET next_at = '2090-01-01 00:00:00.000000' WHERE id = 2"
    )
    found = cli("mail", "send-pending")
    assert (found.exit_code, found.stdout, found.stderr) == (
        0,
        f"{HEADER}1\twelcome\t{GRACE}\tsent\t2\t\t\n",
        "",
    )


@SQLITE
def test_account_that_is_erased_while_its_mail_is_sent_leaves_nothing_waiting(
    cli: Cli, database: Database, office: Office
) -> None:
    office.meanwhile = lambda: database.execute("DELETE FROM ops_mail_messages")
    done = make(cli)
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 3.\n")


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_no_transaction_is_open_while_the_server_is_slow(
    cli: Cli, database: Database, office: Office
) -> None:
    keep_waiting(cli, office, database, GRACE)
    opened: list[tuple[Any, ...]] = []
    # PostgreSQL would end it after a minute, and the command with it.
    office.meanwhile = lambda: opened.extend(
        database.rows(
            "SELECT query FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle in transaction'"
        )
    )
    assert cli("mail", "send-pending").exit_code == 0
    assert office.meanwhile is None
    assert opened == []
