"""The programs that the audit benchmark measures.

``python -m bench.workers append COUNT`` writes events in large batches;
``python -m bench.workers units COUNT`` does that many units of one change each.
"""

from __future__ import annotations

import sys
from uuid import uuid4

import opsapp
from opsapp import clock
from opsapp.actors import Actor
from opsapp.errors import OpsError
from opsapp.extensions import db
from opsapp.unit.ledger import append, take_gate
from opsapp.unit.work import Unit

BATCH = 10_000
"""Events a transaction: large, since this only fills the table."""

SOMEBODY = Actor(kind="os", name="somebody", host="here", terminal="none")


def append_events(count: int) -> None:
    """Write ``count`` genuine events, such as a day of granting roles makes."""
    app = opsapp.create_app()
    with app.app_context():
        for start in range(0, count, BATCH):
            db.session.connection(execution_options={"writing": True})
            head = take_gate(db.session())
            rows = [_row(number) for number in range(start, min(start + BATCH, count))]
            append(db.session.connection(), head, rows)
            db.session.commit()


def _row(number: int) -> dict[str, object]:
    return {
        "at": clock.now(),
        "actor": SOMEBODY.record(),
        "door": "cli",
        "action": "user:role:grant",
        "subject": f"user:{number % 1000 + 1}",
        "reason": "the benchmark",
        "before": {"roles": []},
        "after": {"role": "admin", "valid_until": None},
        "correlation": str(uuid4()),
    }


def do_units(count: int) -> int:
    """Commit ``count`` units of one event each; how many of them failed."""
    app = opsapp.create_app()
    failed = 0
    with app.app_context():
        for number in range(count):
            try:
                with Unit(actor=SOMEBODY, door="cli") as unit:
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
