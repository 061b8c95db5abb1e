"""The outbox: nothing is lost, nothing is undone, and no message is sent twice for nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta

import pytest

from opsapp import clock
from opsapp.engine import connections
from opsapp.mail import outbox
from tests.support import Cli, Database
from tests.support.outbox import GRACE, HEADER, keep_waiting, listed, make, make_due
from tests.support.post import Office
from tests.support.web import settle, site

SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For what does not depend on the database."""
WAITS = "1 message waits: flask mail send-pending.\n"


# --- delivery ----------------------------------------------------------------


def test_message_is_delivered_and_its_text_not_kept(
    cli: Cli, database: Database, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_URL", "https://ops.example.com")
    monkeypatch.setenv("OPSAPP_NAME", "Ops")
    done = make(cli)
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 3.\n")
    ((sender, recipients, message),) = office.envelopes
    assert (sender, recipients) == ("no-reply@ops.example.com", [GRACE])
    assert (message["From"], message["To"]) == ("no-reply@ops.example.com", GRACE)
    assert message["Subject"] == "Ops: Welcome"
    assert message.get_content() == (
        "Hello,\n\n"
        f"an account was created for you on Ops: {GRACE}\n\n"
        "It has no password yet. Set one here:\n\n"
        "    https://ops.example.com/reset\n\n"
        "and then sign in:\n\n"
        "    https://ops.example.com\n\n"
        "If you did not expect this, tell the operators of Ops.\n"
    )
    (kept,) = listed(cli)
    assert (kept["state"], kept["attempts"], kept["next_at"]) == ("sent", 1, None)
    assert database.rows("SELECT body FROM ops_mail_messages") == [("",)]


@SQLITE
def test_sender_may_be_set(cli: Cli, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_DEFAULT_SENDER", "ops@example.org")
    make(cli)
    assert office.envelopes[0][0] == "ops@example.org"


def test_server_that_is_down_undoes_nothing_and_loses_nothing(
    cli: Cli, database: Database, away: None, request: pytest.FixtureRequest
) -> None:
    done = make(cli)
    assert (done.exit_code, done.stderr) == (0, f"Done, audit event 3.\n{WAITS}")
    assert cli("users", "show", GRACE).exit_code == 0
    (waiting,) = listed(cli, "--pending")
    assert (waiting["state"], waiting["attempts"]) == ("waiting", 1)
    assert waiting["error"] == "ConnectionRefusedError: [Errno 111] Connection refused"

    office: Office = request.getfixturevalue("office")  # The server is up again.
    make_due(database)
    sent = cli("mail", "send-pending")
    assert (sent.exit_code, sent.stdout, sent.stderr) == (
        0,
        f"{HEADER}1\twelcome\t{GRACE}\tsent\t2\t\t\n",
        "",
    )
    assert office.recipients == [GRACE]
    assert cli("mail", "send-pending").stdout == HEADER
    assert office.recipients == [GRACE]


@SQLITE
@pytest.mark.parametrize(
    ("step", "says", "error"),
    [
        ("DATA", "451 try later", "SMTPDataError: (451, b'try later')"),
        ("DATA", "554 no such thing", "SMTPDataError: (554, b'no such thing')"),
        ("RCPT", "450 busy", f"SMTPRecipientsRefused: {{'{GRACE}': (450, b'busy')}}"),
        ("RCPT", "550 nobody", f"SMTPRecipientsRefused: {{'{GRACE}': (550, b'nobody')}}"),
    ],
)
def test_server_that_refuses_undoes_nothing_and_loses_nothing(
    cli: Cli, database: Database, office: Office, step: str, says: str, error: str
) -> None:
    office.refusals[step] = says
    done = make(cli)
    assert (done.exit_code, done.stderr) == (0, f"Done, audit event 3.\n{WAITS}")
    assert listed(cli, "--pending")[0]["error"] == error
    office.refusals.clear()
    make_due(database)
    assert cli("mail", "send-pending").exit_code == 0
    assert office.recipients == [GRACE]


@SQLITE
def test_send_pending_ends_with_6_when_one_could_not_be_sent(
    cli: Cli, database: Database, office: Office
) -> None:
    keep_waiting(cli, office, database, GRACE, "heidi@example.com")
    office.meanwhile = lambda: office.refusals.update(RCPT="450 busy")
    found = cli("mail", "send-pending", "--fields", "recipient,state")
    assert (found.exit_code, found.stderr) == (6, "")
    assert found.stdout == f"recipient\tstate\n{GRACE}\tsent\nheidi@example.com\twaiting\n"


@SQLITE
def test_send_pending_leaves_what_is_not_due_and_says_until_when(
    cli: Cli, database: Database, office: Office
) -> None:
    office.refusals["DATA"] = "451 later"
    make(cli)
    office.refusals.clear()
    database.execute("UPDATE ops_mail_messages SET next_at = '2090-01-01 00:00:00.250000'")
    says = "Nothing is due: 1 message waits, the next one until 2090-01-01T00:00:00Z.\n"
    for more in ([], ["--dry-run"]):
        found = cli("mail", "send-pending", *more)
        assert (found.exit_code, found.stdout, found.stderr) == (0, HEADER, says)
    assert office.recipients == []


@SQLITE
def test_send_pending_with_dry_run_names_the_due_and_sends_nothing(
    cli: Cli, database: Database, office: Office
) -> None:
    keep_waiting(cli, office, database, GRACE)
    before = database.rows("SELECT * FROM ops_mail_messages")
    found = cli("mail", "send-pending", "--dry-run", "--fields", "recipient,state")
    assert (found.exit_code, found.stdout) == (0, f"recipient\tstate\n{GRACE}\twaiting\n")
    assert office.recipients == []
    assert database.rows("SELECT * FROM ops_mail_messages") == before


@SQLITE
def test_more_than_a_few_wait_for_send_pending(
    cli: Cli, database: Database, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "AT_ONCE", 1)
    for email in (GRACE, "heidi@example.com", "ivan@example.com"):
        make(cli, email)
    cli("roles", "create", "support", check=True)
    done = cli("roles", "grant", "support", "1", "2", "3")
    assert done.stderr.endswith("2 messages wait: flask mail send-pending.\n")
    assert cli("mail", "send-pending", "--fields", "recipient").stdout == (
        "recipient\nheidi@example.com\nivan@example.com\n"
    )


@SQLITE
def test_server_that_is_down_fails_no_request(
    away: None, cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch) as web:
        web.make("ada@example.com", role="admin")
        made = web.token("ada@example.com")("POST", "/api/users", json={"email": GRACE})
        made.close()  # Then its mail is sent.
        settle(web.app)
    assert made.status_code == 201
    assert (listed(cli)[-1]["recipient"], listed(cli)[-1]["attempts"]) == (GRACE, 1)


@SQLITE
def test_database_that_is_busy_when_the_mail_is_sent_undoes_nothing(
    cli: Cli, database: Database, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOCK_SECONDS", 0)  # The lock stays while the command waits.
    with closing(
        sqlite3.connect(
            database.instance / "opsapp.sqlite", isolation_level=None, check_same_thread=False
        )
    ) as other:
        office.meanwhile = lambda: other.execute("BEGIN IMMEDIATE")
        done = make(cli)
    assert (done.exit_code, done.stderr) == (0, f"Done, audit event 3.\n{WAITS}")


# --- trying again ------------------------------------------------------------


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The present moment, soon, which stands still until its one item is set."""
    moment = [clock.now() + timedelta(hours=1)]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


@SQLITE
def test_retries_are_ever_more_seldom(cli: Cli, office: Office, now: list[datetime]) -> None:
    office.refusals["DATA"] = "451 later"
    make(cli)
    (waiting,) = listed(cli)
    waits = []
    for _time in range(6):
        at = datetime.fromisoformat(waiting["next_at"])
        waits.append((at - now[0]) / timedelta(minutes=1))
        now[0] = at
        (waiting,) = cli("mail", "send-pending", "--format", "json").json
    assert waits == [1, 5, 15, 60, 240, 240]


@SQLITE
def test_message_is_given_up_after_three_days_and_its_text_emptied(
    cli: Cli, database: Database, office: Office, now: list[datetime]
) -> None:
    office.refusals["DATA"] = "554 never"
    make(cli)
    made_at = datetime.fromisoformat(listed(cli)[0]["created_at"])
    for late, state in ((timedelta(0), "waiting"), (timedelta(seconds=1), "given up")):
        assert database.rows("SELECT body = '' FROM ops_mail_messages") == [(False,)]
        now[0] = made_at + timedelta(days=3) + late
        make_due(database)
        found = cli("mail", "send-pending", "--format", "json")
        assert (found.exit_code, found.json[0]["state"]) == (6, state)
    assert database.rows("SELECT body, next_at FROM ops_mail_messages") == [("", None)]
    assert listed(cli)[0]["error"] == "SMTPDataError: (554, b'never')"
    assert listed(cli, "--pending") == []
    now[0] += timedelta(days=30)
    assert cli("mail", "send-pending").stdout == HEADER


# --- what is kept ------------------------------------------------------------


@SQLITE
def test_text_of_a_message_that_waits_cannot_be_read(
    cli: Cli, database: Database, away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_URL", "https://ops.example.com")
    make(cli)
    ((body,),) = database.rows("SELECT body FROM ops_mail_messages")
    assert len(body) > 100
    for clear in ("Hello", GRACE, "https://ops.example.com"):
        assert clear not in body


@SQLITE
def test_text_that_was_sealed_under_another_pepper_is_not_sent(
    cli: Cli, database: Database, office: Office
) -> None:
    keep_waiting(cli, office, database, GRACE)
    (database.instance / "secrets" / "security_password_salt").write_text("another pepper" * 4)
    found = cli("mail", "send-pending", "--fields", "state,error")
    assert (found.exit_code, found.stdout) == (
        6,
        "state\terror\nwaiting\tit was sealed under another SECURITY_PASSWORD_SALT\n",
    )
    assert office.recipients == []


def test_mail_of_an_account_that_is_erased_is_gone(
    cli: Cli, database: Database, office: Office
) -> None:
    keep_waiting(cli, office, database, GRACE, "heidi@example.com")
    cli("users", "delete", GRACE, "--yes", check=True)
    assert [one["recipient"] for one in listed(cli)] == ["heidi@example.com"]
    cli("mail", "send-pending", check=True)
    assert office.recipients == ["heidi@example.com"]


# --- without a server --------------------------------------------------------


@pytest.fixture
def staging(cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is not development, with the secrets it had."""
    for name in ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY"):
        file = database.instance / "secrets" / name.lower()
        monkeypatch.setenv(f"{name}_FILE", str(file))
    monkeypatch.setenv("OPSAPP_ENV", "staging")
    database.execute("UPDATE ops_audit_head SET environment = 'staging'")


@SQLITE
def test_elsewhere_mail_waits_for_a_server(cli: Cli, database: Database, staging: None) -> None:
    assert make(cli).stderr == f"Done, audit event 3.\n{WAITS}"
    (kept,) = listed(cli, "--pending")
    assert (kept["state"], kept["attempts"]) == ("waiting", 0)
    assert not (database.instance / "mail").exists()


@SQLITE
def test_send_pending_without_a_server_uses_up_no_try(
    cli: Cli, database: Database, staging: None
) -> None:
    make(cli)
    found = cli("mail", "send-pending")
    assert (found.exit_code, found.stdout) == (7, "")
    assert found.stderr.startswith("Error: MAIL_SERVER is not set")
    assert listed(cli)[0]["attempts"] == 0


@SQLITE
def test_mail_server_with_a_port_in_it_is_refused(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_SERVER", "mail.example.com:587")
    found = cli("mail", "list")
    assert (found.exit_code, found.stdout) == (7, "")
    assert found.stderr == (
        "Error: MAIL_SERVER 'mail.example.com:587' is not a host name; MAIL_PORT has the port\n"
    )
