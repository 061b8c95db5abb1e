"""Messages in the outbox: written, waiting, due."""

from __future__ import annotations

from typing import Any

from tests.support import Cli, Database, Result
from tests.support.post import Office

GRACE = "grace@example.com"
LONG_AGO = "2020-01-01 00:00:00.000000"
HEADER = "id\tkind\trecipient\tstate\tattempts\tnext_at\terror\n"


def make(cli: Cli, email: str = GRACE, *more: str) -> Result:
    """Create an account, which writes a message."""
    return cli("users", "create", email, "--no-password", *more)


def listed(cli: Cli, *args: str) -> list[dict[str, Any]]:
    """Return the messages in the outbox, the oldest first."""
    rows: list[dict[str, Any]] = cli("mail", "list", *args, "--format", "json", check=True).json
    return rows[::-1]


def keep_waiting(cli: Cli, office: Office, database: Database, *emails: str) -> None:
    """Messages that are due because the server did not take them before."""
    office.refusals["DATA"] = "451 later"
    for email in emails:
        make(cli, email)
    del office.refusals["DATA"]
    make_due(database)


def make_due(database: Database) -> None:
    """Let the time of every message's next try have come."""
    database.execute(
        "UPDATE ops_mail_messages SET next_at = :then WHERE next_at IS NOT NULL", then=LONG_AGO
    )
