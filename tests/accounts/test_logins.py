"""`flask users logins`: attempts listed and pruned."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from opsapp import clock
from tests.accounts.conftest import GRACE, SQLITE, UNKNOWN
from tests.support import Cli, Database
from tests.support.web import site

HEADER = "at\tuser\toutcome\tip\tuser_agent\n"
OLD = "2020-01-01T10:00:00Z\t\tunknown\t192.0.2.9\ta\\x1b]0;x\\x07[b]\n"
WRONG = f"2026-01-01T10:00:00Z\t{GRACE}\tpassword\t192.0.2.1\tFirefox\n"
RIGHT = f"2026-01-01T10:00:01.500000Z\t{GRACE}\tsuccess\t192.0.2.1\tFirefox\n"


@pytest.fixture
def tried(cli: Cli, database: Database) -> Database:
    """Three attempts to sign in: a name without an account, long ago, and two by Grace."""
    cli("users", "create", GRACE, "--username", "grace", "--no-password", check=True)
    for at, user, outcome, ip, agent in (
        # What a program calls itself is what it likes.
        ("2020-01-01 10:00:00.000000", None, "unknown", "192.0.2.9", "a\x1b]0;x\x07[b]"),
        ("2026-01-01 10:00:00.000000", 1, "password", "192.0.2.1", "Firefox"),
        ("2026-01-01 10:00:01.500000", 1, "success", "192.0.2.1", "Firefox"),
    ):
        database.execute(
            "INSERT INTO ops_logins (at, user_id, identity, outcome, ip, user_agent)"
            " VALUES (:at, :user, 'fingerprint', :outcome, :ip, :agent)",
            at=at, user=user, outcome=outcome, ip=ip, agent=agent,
        )  # fmt: skip
    return database


@pytest.fixture
def sessions(tried: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """In February 2026, sessions of 2020: open, expired then, ended then, and ended lately."""
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 2, 1, 10, tzinfo=UTC))
    then, open_ = "2020-01-02 00:00:00.000000", "2090-01-01 00:00:00.000000"
    for key, expires, ended in (
        ("open", open_, None),
        ("expired", then, None),
        ("ended", open_, then),
        ("ended lately", open_, "2026-01-31 00:00:00.000000"),
    ):
        tried.execute(
            "INSERT INTO ops_user_sessions (user_id, key, uniquifier, opened_at, seen_at,"
            " expires_at, ended_at) SELECT id, :key, fs_uniquifier, '2020-01-01 00:00:00.000000',"
            " '2020-01-01 00:00:00.000000', :expires, :ended FROM ops_users",
            key=key, expires=expires, ended=ended,
        )  # fmt: skip
    return tried


def left(database: Database) -> tuple[int, list[str]]:
    """Return the number of logins, and the keys of the sessions."""
    keys = database.rows("SELECT key FROM ops_user_sessions ORDER BY id")
    return database.rows("SELECT count(*) FROM ops_logins")[0][0], [key for (key,) in keys]


# --- list --------------------------------------------------------------------


def test_list_shows_the_newest_first(cli: Cli, tried: Database) -> None:
    result = cli("users", "logins", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == HEADER + RIGHT + WRONG + OLD


@SQLITE
def test_list_as_a_table(cli: Cli, tried: Database) -> None:
    assert cli("users", "logins", "list", "--format", "table").stdout == (
        "at                    user               outcome   ip         user_agent\n"
        "2026-01-01 10:00:01Z  grace@example.com  success   192.0.2.1  Firefox\n"
        "2026-01-01 10:00:00Z  grace@example.com  password  192.0.2.1  Firefox\n"
        "2020-01-01 10:00:00Z  –                  unknown   192.0.2.9  a\\x1b]0;x\\x07[b]\n"
    )


@SQLITE
def test_list_as_json_has_no_fingerprint(cli: Cli, tried: Database) -> None:
    result = cli("users", "logins", "list", "--outcome", "unknown", "--format", "json")
    assert result.json == [
        {
            "id": 1,
            "at": "2020-01-01T10:00:00Z",
            "user_id": None,
            "user": None,
            "outcome": "unknown",
            "ip": "192.0.2.9",
            "user_agent": "a\x1b]0;x\x07[b]",
        }
    ]


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (["grace"], RIGHT + WRONG),
        (["GRACE@example.com", "--outcome", "success"], RIGHT),
        (["--outcome", "locked"], ""),
        (["--since", "2026-01-01T10:00:01Z"], RIGHT),
        (["--since", "2026-01-01"], RIGHT + WRONG),
        (["--since", "1s"], ""),
        (["--limit", "1"], RIGHT),
        (["--address", "192.0.2.1"], RIGHT + WRONG),
        (["--address", "::ffff:192.0.2.1"], RIGHT + WRONG),
        (["--address", "2001:db8::/64"], ""),
        (["--limit", "1", "--all"], RIGHT + WRONG + OLD),
    ],
)
@SQLITE
def test_list_may_be_narrowed(cli: Cli, tried: Database, args: list[str], shown: str) -> None:
    result = cli("users", "logins", "list", *args)
    assert (result.exit_code, result.stdout, result.stderr) == (0, HEADER + shown, "")


@SQLITE
@pytest.mark.parametrize(
    ("args", "exit_code", "says"),
    [
        (["zoe"], 4, UNKNOWN),
        (["--outcome", "nothing"], 2, "Error: Invalid value for '--outcome': 'nothing' is not one"
         " of 'success', 'password', 'unknown', 'code', 'inactive', 'unconfirmed', 'locked',"
         " 'blocked'.\n"),
        (["--since", "2026-13-01"], 2, "Error: Invalid value for '--since': '2026-13-01' is not a"
         " time such as 2026-12-31, 2026-12-31T18:00Z, 18:00, friday, 'monday 9:00', yesterday"
         " or 2h\n"),
        (["--address", "192.0.2.0/24"], 2,
         "Error: 192.0.2.0/24 is not one address, nor a /64 of IPv6\n"),
        (["--address", "2001:db8::/48"], 2,
         "Error: 2001:db8::/48 is not one address, nor a /64 of IPv6\n"),
        (["--limit", "0"], 2, "Error: Invalid value for '--limit': 0 is not in the range"
         " 1<=x<=1000000.\n"),
    ],
)  # fmt: skip
def test_list_refuses_what_it_does_not_know(
    cli: Cli, tried: Database, args: list[str], exit_code: int, says: str
) -> None:
    result = cli("users", "logins", "list", *args)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.endswith(says)


@SQLITE
def test_list_never_shows_what_a_stranger_typed(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch) as web:
        web.browser().sign_in("hunter2-in-the-wrong-field", "x")
    result = cli("users", "logins", "list", "--format", "json")
    assert [(one["user"], one["outcome"]) for one in result.json] == [(None, "unknown")]
    assert "hunter2" not in result.stdout
    assert "hunter2" not in str(database.rows("SELECT * FROM ops_logins"))


# --- prune -------------------------------------------------------------------


def test_prune_forgets_what_is_old_and_over(cli: Cli, sessions: Database) -> None:
    done = cli("users", "logins", "prune", "--older-than", "32d", "--yes")
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 4.\n")
    assert done.stdout == "field\tvalue\nchanged\ttrue\nlogins\t1\nsessions\t2\n"
    assert left(sessions) == (2, ["open", "ended lately"])
    (event,) = cli("audit", "list", "--action", "user:logins:prune", "--format", "json").json
    assert (event["subject"], event["after"]) == ("users", {"logins": 1, "sessions": 2})
    again = cli("users", "logins", "prune", "--older-than", "32d", "--yes")
    assert (again.exit_code, again.stderr) == (0, "Already so: nothing was changed.\n")
    assert again.stdout == "field\tvalue\nchanged\tfalse\nlogins\t0\nsessions\t0\n"


@SQLITE
def test_prune_keeps_what_is_younger(cli: Cli, sessions: Database) -> None:
    assert cli("users", "logins", "prune", "--older-than", "36525d", "--yes").exit_code == 0
    assert left(sessions)[0] == 3


@SQLITE
def test_prune_keeps_ninety_days_by_default(cli: Cli, sessions: Database) -> None:
    sessions.execute("UPDATE ops_logins SET at = '2025-11-03 09:59:59.000000' WHERE id = 2")
    sessions.execute("UPDATE ops_logins SET at = '2025-11-03 10:00:01.000000' WHERE id = 3")
    done = cli("users", "logins", "prune", "--yes", "--format", "json")
    assert done.json == {"changed": True, "audit_seq": 4, "logins": 2, "sessions": 2}


@SQLITE
def test_prune_quietly_says_how_many_log_ins(cli: Cli, sessions: Database) -> None:
    args = ("users", "logins", "prune", "--older-than", "32d", "--yes", "-q")
    assert [cli(*args).stdout for _time in range(2)] == ["1\n", ""]


@SQLITE
def test_prune_asks_first(cli: Cli, sessions: Database) -> None:
    result = cli("users", "logins", "prune")
    assert (result.exit_code, result.stdout, result.stderr) == (
        5,
        "",
        "Error: Delete the old logins? Cannot ask: there is no terminal\n  → add --yes\n",
    )
    assert left(sessions)[0] == 3


@SQLITE
def test_prune_with_dry_run_forgets_nothing(cli: Cli, sessions: Database) -> None:
    before = left(sessions)
    result = cli("users", "logins", "prune", "--older-than", "32d", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "Dry run: nothing was written.\n")
    assert result.stdout == (
        'action\tname\tbefore\tafter\nuser:logins:prune\tusers\t\t{"logins": 1, "sessions": 2}\n'
    )
    assert left(sessions) == before


@SQLITE
@pytest.mark.parametrize("age", ["0d", "-1d", "90", "2026-01-01", "200y"])
def test_prune_refuses_what_is_no_duration(cli: Cli, sessions: Database, age: str) -> None:
    result = cli("users", "logins", "prune", "--older-than", age, "--yes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert left(sessions)[0] == 3
