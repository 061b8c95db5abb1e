"""Addresses beyond ASCII: delivered as they are, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from opsapp import clock
from opsapp.accounts import reachable
from opsapp.mail import smtputf8
from opsapp.mail.undeliverable import NO_UTF8, SENDER_NEEDS_UTF8
from tests.support import Cli, Database
from tests.support.findings import findings
from tests.support.jobwork import past, schedule_file
from tests.support.outbox import listed, make
from tests.support.post import post_office

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

UMLAUT = "ü@example.com"


def test_name_beyond_ascii_is_mailed_to_a_server_that_offers_smtputf8(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with post_office(monkeypatch, enable_SMTPUTF8=True) as office:
        assert make(cli, UMLAUT).exit_code == 0
    ((sender, recipients, message),) = office.envelopes
    assert (sender, recipients, message["To"]) == ("no-reply@localhost", [UMLAUT], UMLAUT)
    assert message["Subject"] == "opsapp: Welcome"
    assert "an account was created for you" in message.get_content()
    assert [one["state"] for one in listed(cli)] == ["sent"]


@pytest.mark.parametrize(
    "words",
    [
        ("users", "create", UMLAUT, "--no-password"),
        ("users", "create-admin", UMLAUT, "--generate-password"),
        ("users", "update", "grace@example.com", "--email", UMLAUT),
    ],
    ids=" ".join,
)
def test_name_beyond_ascii_is_refused_where_the_server_cannot_deliver_it(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    with post_office(monkeypatch, enable_SMTPUTF8=False) as office:
        make(cli)
        before = database.rows("SELECT seq FROM ops_audit_head")
        result = cli(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: e-mail {UMLAUT}: {NO_UTF8}\n"
    assert database.rows("SELECT seq FROM ops_audit_head") == before
    assert office.recipients == ["grace@example.com"]


def test_import_rejects_a_new_account_that_mail_cannot_reach(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "users.csv"
    file.write_text(f"email\n{UMLAUT}\nheidi@example.com\n")
    with post_office(monkeypatch, enable_SMTPUTF8=False):
        result = cli("users", "import", str(file), "--on-error", "skip")
        assert result.exit_code == 6
        assert f"Line 2, column email: {UMLAUT}: {NO_UTF8}\n" in result.stderr
    with post_office(monkeypatch, enable_SMTPUTF8=True):
        assert cli("users", "import", str(file)).exit_code == 0
    with post_office(monkeypatch, enable_SMTPUTF8=False):
        # It is there now, and an import may go on to change it.
        assert cli("users", "import", str(file)).exit_code == 0


def test_account_that_mail_cannot_reach_any_more_is_changed_all_the_same(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with post_office(monkeypatch, enable_SMTPUTF8=True):
        make(cli, UMLAUT)
    with post_office(monkeypatch, enable_SMTPUTF8=False):
        assert cli("users", "update", UMLAUT, "--email", UMLAUT).exit_code == 0
        result = cli("users", "create", UMLAUT, "--no-password", "--if-exists", "keep")
        assert result.exit_code == 0


def test_name_beyond_ascii_is_taken_while_the_server_is_away(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office(monkeypatch):
        pass
    assert make(cli, UMLAUT).exit_code == 0
    assert "the mail server was not asked for SMTPUTF8: " in caplog.text
    assert [one["state"] for one in listed(cli)] == ["waiting"]


def test_server_is_asked_once_in_a_while(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(smtputf8, "_ask", lambda: asked.append(1) or False)
    with app.app_context():
        reasons = [reachable.unreachable(UMLAUT) for _time in range(3)]
        assert reachable.unreachable("u@müller.example") is None
    assert (reasons, asked) == ([NO_UTF8] * 3, [1])


def test_message_is_given_up_where_the_server_cannot_deliver_it_any_more(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office(monkeypatch, enable_SMTPUTF8=False) as office:
        monkeypatch.setattr(smtputf8, "_ask", lambda: True)
        made = make(cli, UMLAUT)
    assert (made.exit_code, office.envelopes) == (0, [])
    assert made.stderr == "Done, audit event 3.\n"  # Nothing waits; pytest has the warning.
    assert f"mail 1 (welcome) cannot be delivered: {NO_UTF8}" in caplog.text
    (kept,) = listed(cli)
    assert (kept["state"], kept["attempts"], kept["error"]) == ("given up", 1, NO_UTF8)


def test_sender_beyond_ascii_needs_smtputf8_too(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_DEFAULT_SENDER", "Büro <büro@example.com>")
    with post_office(monkeypatch, enable_SMTPUTF8=False) as office:
        make(cli, "heidi@example.com")
        state, message, _advice = findings(cli("doctor", "--format", "json"))["mail"]
    (kept,) = listed(cli)
    assert (office.envelopes, kept["state"], kept["error"]) == ([], "waiting", SENDER_NEEDS_UTF8)
    assert (state, message) == ("fail", SENDER_NEEDS_UTF8)
    database.execute("UPDATE ops_mail_messages SET next_at = '2020-01-01 00:00:00.000000'")
    with post_office(monkeypatch, enable_SMTPUTF8=True) as office:
        cli("mail", "send-pending", check=True)
    ((sender, recipients, message),) = office.envelopes
    assert (sender, recipients) == ("büro@example.com", ["heidi@example.com"])
    assert message["From"] == "Büro <büro@example.com>"


@pytest.mark.parametrize(
    ("setting", "job", "place"),
    [
        ("ops@example.com ü@example.com", "", "OPSAPP_JOBS_NOTIFY"),
        ("", "notify = ['ü@example.com']", "notify of the job a"),
    ],
)
def test_address_of_alerts_that_the_server_cannot_deliver_to_is_named(
    cli: Cli,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    job: str,
    place: str,
) -> None:
    monkeypatch.setenv("OPSAPP_JOBS_NOTIFY", setting)
    schedule_file(database, f"[jobs.a]\ncommand = 'true'\n{job}\n")
    says = f"{place} has an address that is not in ASCII: {NO_UTF8}"
    for is_offered, expected in ((False, ("fail", says, "name another address")), (True, None)):
        with post_office(monkeypatch, enable_SMTPUTF8=is_offered):
            assert findings(cli("doctor", "--format", "json")).get("alerts") == expected


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ("[jobs.a]\ncommand = 'true'\nnotify = ['ops@example.com']\n", set()),
        ("[jobs.a]\ncommand = 'true'\n", {"alerts"}),
        ("", {"alerts"}),
    ],
)
def test_setting_of_alerts_is_checked_if_a_job_uses_it(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch, jobs: str, expected: set[str]
) -> None:
    monkeypatch.setenv("OPSAPP_JOBS_NOTIFY", "ü@example.com")
    schedule_file(database, jobs)
    with post_office(monkeypatch, enable_SMTPUTF8=False):
        assert findings(cli("doctor", "--format", "json")).keys() & {"alerts", "jobs"} == expected


def test_jobs_that_cannot_be_read_are_told_once(cli: Cli, database: Database) -> None:
    schedule_file(database, "[jobs")
    report = findings(cli("doctor", "--format", "json"))
    assert (report["jobs"][0], report["alerts"]) == (
        "fail",
        ("warn", "not checked: the jobs cannot be read", "mend the jobs"),
    )


def test_address_of_alerts_hides_no_job_that_fails(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_JOBS_NOTIFY", "ü@example.com")
    schedule_file(database, "[jobs.a]\ncommand = 'true'\n")
    past(database, "a", "failed", at=clock.now())
    with post_office(monkeypatch, enable_SMTPUTF8=False):
        report = findings(cli("doctor", "--format", "json"))
    assert (report["alerts"][0], report["jobs"][0]) == ("fail", "warn")
    assert report["jobs"][1].startswith("1 of 1: a failed")


@pytest.mark.parametrize(
    ("email", "envelope"),
    [
        ("ada@müller.example", "ada@xn--mller-kva.example"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
    ],
)
def test_domain_beyond_ascii_is_mailed_in_ascii_by_any_server(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, email: str, envelope: str
) -> None:
    with post_office(monkeypatch, enable_SMTPUTF8=False) as office:
        make(cli, email)
    assert office.recipients == [envelope]
    assert [one["recipient"] for one in listed(cli)] == [email]


def test_display_name_beyond_ascii_needs_no_smtputf8(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_DEFAULT_SENDER", "Büro <office@example.com>")
    with post_office(monkeypatch, enable_SMTPUTF8=False) as office:
        make(cli)
    assert [one["state"] for one in listed(cli)] == ["sent"]
    assert office.recipients == ["grace@example.com"]
