"""Notices by mail are receivers of signals, so they can be replaced, and can fail."""

from __future__ import annotations

import json
import logging
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

import opsapp
from opsapp.accounts import users
from opsapp.mail import outbox
from opsapp.models import User
from tests.support import Cli, Database, a_unit, close_connections, run

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

GRACE = "grace@example.com"


def sent(database: Database) -> list[EmailMessage]:
    """Return the messages that development wrote to files, the oldest first."""
    files = sorted((database.instance / "mail").glob("*"), key=lambda file: file.stat().st_mtime_ns)
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


def subjects(database: Database) -> list[str]:
    return [message["Subject"] for message in sent(database)]


def body(message: EmailMessage) -> str:
    """The text, without the line that development writes below each message."""
    return str(message.get_content()).rsplit("-" * 79, 1)[0].strip()


def make(cli: Cli, *more: str) -> None:
    cli("users", "create", GRACE, "--no-password", *more, check=True)


# --- where to patch ----------------------------------------------------------


def test_welcome_mail_is_replaced_where_it_is_called(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patch the name that the caller looks up.

    ``opsapp.mail.notices.welcome`` receives ``user_created``, and each time looks up
    ``send_welcome_mail`` in its own module: so the place is ``opsapp.mail.notices``, where
    it is called. Were it defined elsewhere and brought there by ``from … import``, the
    place would be the same, and not where it is defined.

    A mock of the receiver itself, ``opsapp.mail.notices.welcome``, comes too late for an
    application that is there already: the signal holds the function, and not its name.
    """
    welcomed: list[str | None] = []

    def fake(user: User) -> None:
        welcomed.append(user.email)

    monkeypatch.setattr("opsapp.mail.notices.send_welcome_mail", fake)
    make(cli)
    assert welcomed == [GRACE]
    assert sent(database) == []


def test_name_that_is_replaced_where_it_is_defined_is_called_as_before(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half of the rule above.

    ``opsapp.mail.notices`` says ``from flask import render_template``: it has a name of
    its own for that function, which a mock in ``flask`` does not touch.
    """

    def fake(*_args: Any, **_context: Any) -> str:
        return "a mock"

    monkeypatch.setattr("flask.render_template", fake)
    make(cli)
    assert "an account was created for you" in body(sent(database)[0])

    monkeypatch.setattr("opsapp.mail.notices.render_template", fake)
    cli("users", "create", "heidi@example.com", "--no-password", check=True)
    assert body(sent(database)[1]) == "a mock"


# --- when it is sent ---------------------------------------------------------


def test_receiver_that_fails_is_logged_and_the_others_still_tell(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_user: User) -> None:
        raise RuntimeError("no words of welcome")

    monkeypatch.setattr("opsapp.mail.notices.send_welcome_mail", fail)
    make(cli, "--role", "admin")
    assert cli("users", "can", GRACE, "users:read").exit_code == 0
    assert subjects(database) == ["opsapp: You hold the role admin now"]
    (logged,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert logged.getMessage() == "a receiver of the signal user-created failed"
    assert logged.exc_info is not None
    assert str(logged.exc_info[1]) == "no words of welcome"


def test_receiver_that_fails_is_a_line_on_stderr_and_its_traceback_in_the_error_log(
    database: Database,
) -> None:
    (database.instance / "grumpy.py").write_text(
        "import opsapp\n"
        "from opsapp import signals\n"
        "def grumble(app, **_extra):\n"
        "    raise RuntimeError('not today')\n"
        "signals.user_created.connect(grumble)\n"
        "create_app = opsapp.create_app\n"
    )
    done = run(database, "users", "create", GRACE, "--no-password", "-q", FLASK_APP="grumpy")
    assert (done.exit_code, done.stdout) == (0, "1\n")
    said = r"Warning: a receiver of the signal user-created failed \(error ([0-9a-f]{8})\)\n"
    found = re.fullmatch(said, done.stderr)
    assert found, done.stderr
    (line,) = (database.instance / "errors.log").read_text().splitlines()
    assert json.loads(line)["id"] == found[1]
    assert "RuntimeError: not today" in line


def test_dry_run_sends_no_notice(cli: Cli, database: Database) -> None:
    done = cli("users", "create", GRACE, "--no-password", "--role", "admin", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "Dry run: nothing was written.\n")
    assert sent(database) == []
    assert database.rows("SELECT * FROM ops_mail_messages") == []


def test_change_that_is_refused_sends_no_notice(cli: Cli, database: Database) -> None:
    assert cli("users", "create", GRACE, "--no-password", "--role", "nothing").exit_code == 4
    assert database.rows("SELECT * FROM ops_mail_messages") == []


def test_change_of_nothing_sends_no_notice(cli: Cli, database: Database) -> None:
    make(cli, "--role", "admin")
    cli("users", "create", GRACE, "--no-password", "--if-exists", "keep", check=True)
    cli("roles", "grant", "admin", GRACE, check=True)
    assert subjects(database) == ["opsapp: Welcome", "opsapp: You hold the role admin now"]


def test_notices_may_be_off(cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSAPP_NOTICES", "off")
    make(cli, "--role", "admin")
    assert database.rows("SELECT * FROM ops_mail_messages") == []


def test_notices_of_one_application_do_not_tell_of_another(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opsapp.without_web():
        loud, quiet = opsapp.create_app(), opsapp.create_app({"OPSAPP_NOTICES": False})
    for app, email in ((quiet, "heidi@example.com"), (loud, GRACE)):
        with app.app_context():
            users.create(email, unit=a_unit())
            outbox.take_kept()
    close_connections()
    assert database.rows("SELECT recipient FROM ops_mail_messages") == [(GRACE,)]


# --- what it says ------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "It has no end date."),
        (
            ["--until", "2090-03-01T18:30Z"],
            "It ends by itself on 1 March 2090 at 18:30 UTC.",
        ),
    ],
)
def test_mail_about_a_role_says_who_gave_it_and_until_when(
    cli: Cli, database: Database, given: list[str], says: str
) -> None:
    make(cli)
    cli("roles", "create", "support", check=True)
    cli("roles", "grant", "support", GRACE, *given, check=True)
    _welcome, told = sent(database)
    assert (told["To"], told["Subject"]) == (GRACE, "opsapp: You hold the role support now")
    assert body(told) == (
        "Hello,\n\n"
        f'An operator gave your account on opsapp ({GRACE}) the role "support".\n\n'
        f"{says}\n\n"
        "You do not need to do anything. If you did not expect this, tell the operators of opsapp."
    )


def test_old_address_is_told_that_the_account_has_another(cli: Cli, database: Database) -> None:
    make(cli)
    cli("users", "update", GRACE, "--email", "grace@example.org", check=True)
    _welcome, told = sent(database)
    assert (told["To"], told["Subject"]) == (GRACE, "opsapp: Your address was changed")
    assert "the e-mail address of your account on opsapp was changed a moment ago" in body(told)
    assert "example.org" not in body(told)  # The old mailbox may be in wrong hands.


def test_second_factor_that_is_taken_off_is_told(cli: Cli, database: Database) -> None:
    make(cli)
    cli("users", "reset-access", GRACE, "--yes", check=True)  # There was none: nothing to tell.
    database.execute("UPDATE ops_users SET tf_primary_method = 'authenticator'")
    cli("users", "reset-access", GRACE, "--yes", check=True)
    _welcome, told = sent(database)
    assert (told["To"], told["Subject"]) == (
        GRACE,
        "opsapp: Two-factor authentication was changed",
    )
    assert "now asks for the password only" in body(told)
