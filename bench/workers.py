"""The programs that the audit benchmark measures.

``python -m bench.workers append COUNT`` writes events in large batches, on COUNT / 10 accounts;
``python -m bench.workers units COUNT`` does that many units of one change each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import sqlalchemy as sa

import opsapp
from opsapp import clock
from opsapp.actors import Actor
from opsapp.errors import OpsError
from opsapp.extensions import db
from opsapp.models import Grant, User
from opsapp.unit.ledger import Recorded, add_names, append, take_gate, without_names
from opsapp.unit.work import Unit

BATCH = 10_000
"""Events a transaction: large, since this only fills the table."""

OPERATOR = Actor(kind="os", name="operator", host="here", terminal="none")


def append_events(count: int) -> None:
    """Write ``count`` genuine events, and the accounts and grants that they make.

    A tenth of them creates an account each; the others grant it admin until another day.
    """
    app = opsapp.create_app()
    with app.app_context():
        accounts = count // 10
        for start in range(0, accounts, BATCH):
            _write(range(start, min(start + BATCH, accounts)), _create)
        for start in range(accounts, count, BATCH):
            _write(range(start, min(start + BATCH, count)), partial(_grant, accounts))
        last = [(id, _end(number)) for id, number in _last_grants(accounts, count)]
        connection = db.session.connection(execution_options={"writing": True})
        rows = [{"user_id": id, "role_id": 1, "valid_until": end} for id, end in last]
        connection.execute(sa.insert(Grant), [{**row, "granted_by": "operator"} for row in rows])
        db.session.commit()


def _write(numbers: range, change: Callable[[int], Recorded]) -> None:
    db.session.connection(execution_options={"writing": True})
    head = take_gate(db.session())
    connection = db.session.connection()
    rows, names = [], []
    for number in numbers:
        sides, beside = without_names(change(number))
        names += beside
        rows.append({**_row(change(number)), **sides})
    if names:
        users = [{"id": n + 1, "email": _email(n), "confirmed_at": clock.now()} for n in numbers]
        connection.execute(sa.insert(User), users)
    add_names(connection, names)
    append(connection, head, rows)
    db.session.commit()


def _email(number: int) -> str:
    return f"user{number + 1}@example.com"


def _create(number: int) -> Recorded:
    after = {"email": _email(number), "username": None, "password": None, "confirmed": "yes"}
    return Recorded("user:account:create", f"user:{number + 1}", None, after)


def _grant(accounts: int, number: int) -> Recorded:
    after = {"role": "admin", "valid_until": clock.rfc3339(_end(number))}
    return Recorded("user:role:grant", f"user:{number % accounts + 1}", None, after)


def _end(number: int) -> datetime:
    return datetime(2100, 1, 1, tzinfo=UTC) + timedelta(seconds=number)


def _last_grants(accounts: int, count: int) -> Iterator[tuple[int, int]]:
    return ((number % accounts + 1, number) for number in range(count - accounts, count))


def _row(change: Recorded) -> dict[str, object]:
    return {
        "at": clock.now(),
        "actor": OPERATOR.record(),
        "door": "cli",
        "action": change.action,
        "subject": change.subject,
        "reason": "the benchmark",
        "correlation": str(uuid4()),
    }


def do_units(count: int) -> int:
    """Commit ``count`` units of one event each; how many of them failed."""
    app = opsapp.create_app()
    failed = 0
    with app.app_context():
        for number in range(count):
            try:
                with Unit(actor=OPERATOR, door="cli") as unit:
                    unit.record("database:benchmark:write", "database", after={"n": number})
            except OpsError as error:
                failed += 1
                sys.stderr.write(f"{error.message}\n")
            db.session.remove()
    return failed


if __name__ == "__main__":
    verb, number = sys.argv[1], int(sys.argv[2])
    if verb == "append":
        append_events(number)
    else:
        sys.stdout.write(f"{do_units(number)}\n")
