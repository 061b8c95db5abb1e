"""The audit log as it is stored: raw columns, a page at a time, in flat memory.

Rows that were edited outside of opsapp can contain anything. So nothing here is parsed
before it is needed, and a value that does not parse is still shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ..extensions import db
from ..models import AuditEvent, PersonalValue

CHUNK = 2000
_TOKEN = re.compile(r"[0-9a-f]{32}")


def as_text(column: Any) -> Any:
    """Return a column as what the driver gives, without the type's own reading of it."""
    return sa.type_coerce(column, sa.Text)


def pages(criteria: Sequence[sa.ColumnElement[bool]] = ()) -> Generator[Any, None, None]:
    """Yield the events in order, in chunks of rows; their columns are those that are hashed, in
    that order, then ``previous`` and ``hash``. Close it when leaving it early."""
    columns = (
        AuditEvent.seq,
        as_text(AuditEvent.at).label("at"),
        as_text(AuditEvent.actor).label("actor"),
        AuditEvent.door,
        AuditEvent.action,
        AuditEvent.subject,
        AuditEvent.reason,
        as_text(AuditEvent.before).label("before"),
        as_text(AuditEvent.after).label("after"),
        AuditEvent.correlation,
        AuditEvent.previous,
        AuditEvent.hash,
    )
    query = sa.select(*columns).where(*criteria).order_by(AuditEvent.seq)
    with db.ours.execute(query, execution_options={"yield_per": CHUNK}) as result:
        yield from result.partitions()


def moment(at: Any) -> datetime:
    """Return the time of an event: PostgreSQL's driver gives one, SQLite its text.

    :raises ValueError: it is none, or another text for one than was written.
    """
    time = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    if isinstance(at, str) and time.replace(tzinfo=None).isoformat(" ", "microseconds") != at:
        raise ValueError("SQLAlchemy writes another text for this time")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def moment_of_a_dump(at: str) -> datetime | str:
    """Return the time of an event in a dump of PostgreSQL, or the text if it is none."""
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return at


def parse_column(source: Any) -> dict[str, Any] | None:
    """Return a JSON column, or what is there instead under the key ``unreadable``."""
    if source is None:
        return None
    try:
        value = json.loads(source)
    except (ValueError, TypeError):
        return {"unreadable": str(source)}
    return value if isinstance(value, dict) else {"unreadable": str(source)}


def tokens(row: Any) -> set[str]:
    """Return the tokens of the personal values that an event names."""
    names: set[str] = set()
    for side in (row.before, row.after):
        if isinstance(side, str) and '"personal":' in side:
            sides = (parse_column(side) or {}).values()
            names |= {value["personal"] for value in sides if is_token(value)}
    return names


def is_token(value: Any) -> bool:
    """Return whether a value stands for a personal one; an application's may look alike."""
    token = value.get("personal") if isinstance(value, dict) and len(value) == 1 else None
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None


def personal_values(tokens: Iterable[str]) -> dict[str, PersonalValue]:
    """Return the rows behind the tokens that are not erased."""
    return {row.token: row for row in db.ours.scalars(_PERSONAL, {"tokens": list(tokens)})}


# Built once: a list in a statement is a cycle, which would keep each page's until collected.
_PERSONAL = sa.select(PersonalValue).where(
    PersonalValue.token.in_(sa.bindparam("tokens", expanding=True))
)
