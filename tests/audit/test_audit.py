"""`flask audit`: reading the chain, and finding every way it can be broken."""

from __future__ import annotations

import gc
import json
import weakref
from datetime import timedelta

import pytest
from flask import Flask

from opsapp import clock
from opsapp.accounts import roles
from opsapp.actors import Actor
from opsapp.audit import stored
from opsapp.unit.work import Unit
from tests.audit.conftest import events
from tests.support import Cli, Database

APPEND_ONLY = "audit events are append-only"


# --- reading -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--limit", "3"], [7, 8, 9]),
        (["--limit", "3", "--before", "7"], [4, 5, 6]),
        (["--all", "--limit", "1"], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (["--action", "user:role"], [4, 7, 8]),
        (["--action", "user:role:grant"], [4, 7]),
        (["--subject", "bob"], [5, 7, 8]),
        (["--subject", "user:2"], [5, 7, 8]),
        (["--subject", "role:support"], [6, 9]),
        (["--subject", "role:2"], [6, 9]),
        (["--subject", "database"], [1]),
        (["--since", "1h", "--action", "role"], [2, 6, 9]),
        (["--until", "2020-01-01"], []),
        (["--action", "user:factor"], []),
        (["--action", "role", "--actor", "ada"], []),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_list_filters_and_pages(
    cli: Cli, story: None, args: list[str], expected: list[int]
) -> None:
    assert events(cli, *args) == expected


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--action", "user:rol"], "no event is a user:rol\n  → did you mean user:role?"),
        (["--action", "x:y:z"], "no event is a x:y:z\n  → flask audit list --fields action"),
        (["--actor", "bo@example.com"],
         "no event is by bo@example.com\n  → did you mean bob@example.com?"),
        (["--actor", "q"], "no event is by q\n  → flask audit list --fields actor"),
    ],
    ids=lambda value: " ".join(map(str, value)),
)  # fmt: skip
def test_list_refuses_what_no_event_has(cli: Cli, story: None, args: list[str], says: str) -> None:
    done = cli("audit", "list", *args)
    assert (done.exit_code, done.stdout, done.stderr) == (4, "", f"Error: {says}\n")


@pytest.mark.parametrize("name", ["ada", "ada@example.com", "1", "user:1"])
def test_list_finds_an_account_that_acts_by_any_name(
    app: Flask, cli: Cli, story: None, name: str
) -> None:
    ada = Actor(kind="user", name="user:1", token="ci")
    roles.create("other", unit=Unit(actor=ada, door="api"))
    assert events(cli, "--actor", name) == [10]
    event = cli("audit", "show", "10", "--format", "json").json
    assert (event["actor"], event["actor_detail"]["name"]) == (
        "ada@example.com (token ci)",
        "user:1",
    )


def test_list_filters_by_actor_and_correlation(
    cli: Cli, story: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_ACTOR", "carol")
    cli("roles", "create", "other", check=True)
    assert events(cli, "--actor", "carol") == [10]
    result = cli("audit", "show", "10", "--format", "json").json
    assert result["actor_detail"]["behind"] == "carol"
    assert "for carol" in result["actor"]
    assert events(cli, "--correlation", result["correlation"]) == [10]


def test_list_filters_by_a_part_of_the_reason(cli: Cli, story: None) -> None:
    cli("roles", "create", "other", "--reason", "Night shift 100 %", check=True)
    assert events(cli, "--reason", "night SHIFT") == [10]
    assert events(cli, "--reason", "100 %", "--since", "1h") == [10]
    assert events(cli, "--reason", "100_%") == []


def test_list_since_a_time_finds_events_whose_times_are_in_no_order(
    cli: Cli, story: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = clock.now()
    for hours in (1, 5, 0, 3):  # Ago, of events 10 to 13.
        monkeypatch.setattr(clock, "now", lambda: present - timedelta(hours=hours))  # noqa: B023
        cli("roles", "create", f"role{hours}", "--reason", "Night shift", check=True)
    monkeypatch.setattr(clock, "now", lambda: present + timedelta(seconds=1))
    monkeypatch.setenv("OPSAPP_ACTOR", "carol")
    cli("roles", "create", "other", check=True)
    for since, numbers in (("2h", [10, 12]), ("4h", [10, 12, 13]), ("6h", [10, 11, 12, 13])):
        assert events(cli, "--reason", "night", "--since", since) == numbers
    assert events(cli, "--reason", "night", "--since", "2099-01-01") == []
    assert events(cli, "--actor", "carol", "--since", "2h") == [14]


class Token(str):
    """A text whose end can be seen."""


def test_personal_values_of_a_page_are_not_kept_with_its_statement(app: Flask) -> None:
    gc.disable()  # What has no cycle is gone with its last name.
    try:
        token = Token("a" * 32)
        reference = weakref.ref(token)
        assert stored.personal_values([token]) == {}
        del token
        assert reference() is None
    finally:
        gc.enable()


def test_list_says_how_to_see_the_page_before(cli: Cli, story: None) -> None:
    result = cli("audit", "list", "--limit", "2", "--fields", "seq")
    assert result.stdout == "seq\n8\n9\n"
    assert result.stderr == "There are more: --before 8 shows the next page, --all everything.\n"
    assert cli("audit", "list", "--limit", "9", "--fields", "seq").stderr == ""


@pytest.mark.parametrize("subject", ["nobody", "role:nothing", "user:99"])
def test_list_about_an_unknown_account_is_not_found(cli: Cli, story: None, subject: str) -> None:
    assert cli("audit", "list", "--subject", subject).exit_code == 4


def test_show_of_no_event_is_not_found(cli: Cli) -> None:
    result = cli("audit", "show", "99")
    assert (result.exit_code, result.stderr) == (
        4,
        "Error: no audit event 99\n  → flask audit list\n",
    )


def test_export_carries_what_a_verifier_needs(cli: Cli, database: Database, story: None) -> None:
    from datetime import datetime

    from opsapp.unit import chain

    key = (database.instance / "secrets" / "opsapp_audit_key").read_text().encode()
    previous = chain.GENESIS
    for line in cli("audit", "export", "--format", "jsonl").stdout.splitlines():
        event = json.loads(line)
        columns = (
            event["seq"],
            datetime.fromisoformat(event["at"]),
            *(event[name] for name in ("actor", "door", "action", "subject", "reason")),
            *(event[name] for name in ("before", "after", "correlation")),
        )
        assert event["previous"] == previous
        assert event["hash"] == chain.link(key, previous, columns)
        previous = event["hash"]
    assert event["seq"] == 9


def test_database_refuses_to_change_an_event(database: Database, story: None) -> None:
    for statement in ("UPDATE ops_audit_events SET reason = 'x'", "DELETE FROM ops_audit_events"):
        with pytest.raises(Exception, match=APPEND_ONLY):
            database.execute(statement)


def test_list_follows_from_now_on_and_not_from_before(cli: Cli) -> None:
    done = cli("audit", "list", "--follow", "--before", "1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "Error: --follow and --before cannot be combined\n"
