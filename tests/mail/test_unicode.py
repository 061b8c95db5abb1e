"""Addresses beyond ASCII: delivered as they are, or not at all."""

from __future__ import annotations

import pytest

from tests.support import Cli
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
    assert "there is now an account for you" in message.get_content()
    assert [one["state"] for one in listed(cli)] == ["sent"]


def test_name_beyond_ascii_is_given_up_where_the_server_cannot_deliver_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office(monkeypatch, enable_SMTPUTF8=False) as office:
        made = make(cli, UMLAUT)
    assert (made.exit_code, office.envelopes) == (0, [])
    why = "the mail server does not offer SMTPUTF8, which this address needs"
    assert made.stderr == "Done, audit event 3.\n"  # Nothing waits; pytest has the warning.
    assert f"mail 1 (welcome) cannot be delivered: {why}" in caplog.text
    (kept,) = listed(cli)
    assert (kept["state"], kept["attempts"], kept["error"]) == ("given up", 1, why)


def test_sender_beyond_ascii_needs_smtputf8_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_DEFAULT_SENDER", "Büro <büro@example.com>")
    with post_office(monkeypatch, enable_SMTPUTF8=False) as office:
        make(cli)
    assert (office.envelopes, [one["state"] for one in listed(cli)]) == ([], ["given up"])
    with post_office(monkeypatch, enable_SMTPUTF8=True) as office:
        make(cli, "heidi@example.com")
    ((sender, recipients, message),) = office.envelopes
    assert (sender, recipients) == ("büro@example.com", ["heidi@example.com"])
    assert message["From"] == "Büro <büro@example.com>"


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
