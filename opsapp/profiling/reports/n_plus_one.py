"""N+1: lines that send one statement repeatedly in a request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ... import clock, settings
from ...engine.fingerprint import after_columns
from ...errors import Invalid
from ...models.application import application_models
from ...types import Record
from ..paths import OURS
from .names import is_request
from .totals import Sum, add_up

_TABLE = r'"?([A-Za-z_]\w*)"?'
_FROM = re.compile(rf"\bFROM {_TABLE}", re.IGNORECASE)
_WHERE = re.compile(r"\bWHERE (.*?)(?: ORDER BY | GROUP BY | LIMIT |$)", re.IGNORECASE)
_COLUMN = re.compile(rf"{_TABLE}\.{_TABLE} (?:=|IN)|= {_TABLE}\.{_TABLE}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Intended repeats: a pattern of ``file in function``, and the most in a request."""

    pattern: str
    most: float

    @classmethod
    def parse(cls, words: str) -> Allowed:
        """Read ``shop/feed.py in *=20``; without a number there is no limit.

        :raises Invalid: the pattern or the number is missing or wrong.
        """
        pattern, _, most = words.rpartition("=") if "=" in words else (words, "", "inf")
        if not pattern.strip() or not (most == "inf" or most.strip().isdigit()):
            raise Invalid(f"{words!r} is not of the form 'shop/feed.py in *=20'")
        return cls(pattern.strip(), float(most))

    def fits(self, caller: str, times: float) -> bool:
        """Tell whether this line may repeat a statement so often."""
        file, _, function = caller.partition(" in ")
        place = f"{file.rpartition(':')[0]} in {function}"
        return times <= self.most and fnmatchcase(place, self.pattern)


def listing(
    *,
    since: datetime,
    until: datetime | None = None,
    allow: Sequence[str] = (),
    top: int | None = 20,
    requests: bool = False,
) -> list[Record]:
    """Return the repeats of a span, the most expensive first. Times are in milliseconds.

    ``times`` is the count in a request. ``to_win_ms`` is the time that a request would save
    by a single statement. ``advice`` is the loader option to add.

    :param allow: intended repeats, beside those of ``OPSAPP_REPEATS_ALLOWED``.
    :param requests: leave out commands.
    """
    patterns = [*allow, *settings.get("OPSAPP_REPEATS_ALLOWED").split(";")]
    allowed = [Allowed.parse(pattern) for pattern in patterns if pattern.strip()]
    rows = [_row(total) for total in add_up("repeat", since, until or clock.now())]
    rows = [row for row in rows if row["line"] and not row["line"].startswith(OURS)]
    rows = [row for row in rows if not requests or is_request(row["endpoint"])]
    rows = [row for row in rows if not any(a.fits(row["line"], row["times"]) for a in allowed)]
    rows.sort(key=lambda row: (-row["total_to_win_ms"], row["line"], row["statement"]))
    return rows[:top]


def _row(total: Sum) -> Record:
    times = total.queries / total.count
    each = total.query_seconds / total.queries if total.queries else 0.0
    won = (times - 1) * each
    return {
        "endpoint": total.name,
        "line": total.caller,
        "requests": total.count,
        "times": round(times, 1),
        "to_win_ms": round(won * 1000, 3),
        "total_to_win_ms": round(won * total.count * 1000, 3),
        "advice": advice(total.statement),
        "statement": total.statement,
    }


# --- advice ------------------------------------------------------------------


def advice(fingerprint: str) -> str:
    """Return the loader option that would load all rows at once, or other advice."""
    clauses = after_columns(fingerprint)
    match = _FROM.search(clauses)
    if not fingerprint.upper().startswith(("SELECT", "WITH")):
        return "send it once, with all the rows (executemany)"
    options = [] if match is None else list(_options(match[1], _columns(clauses)))
    if not options:
        return "ask once with IN (…), before the loop"
    return " or ".join(options[:3])


def _columns(clauses: str) -> set[tuple[str, str]]:
    """Return the columns in the WHERE clause, as (table, column)."""
    where = _WHERE.search(clauses)
    matches = _COLUMN.findall(where[1]) if where else []
    return {(a or c, b or d) for a, b, c, d in matches}


def _options(table: str, by: set[tuple[str, str]]) -> Iterator[str]:
    for model in sorted(application_models(), key=lambda model: model.__name__):
        mapper: so.Mapper[Any] = sa.inspect(model)
        for relation in mapper.relationships:
            target = getattr(relation.mapper.local_table, "name", None)
            if target == table and by & _remote(relation):
                option = "selectinload" if relation.uselist else "joinedload"
                yield f"{option}({model.__name__}.{relation.key})"


def _remote(relation: so.RelationshipProperty[Any]) -> set[tuple[str, str]]:
    return {
        (str(getattr(column.table, "name", "")), str(column.name))
        for column in relation.remote_side
    }
