"""An export: the accounts of a filter as one snapshot, read by two cursors in flat memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, TextIO

import sqlalchemy as sa

from ... import clock, text
from ...errors import Invalid
from ...extensions import db
from ...models import Grant, Role, User
from ..listing import Filter
from . import codecs
from .records import FORMULAS
from .streams import encoded, written

CHUNK = 2000
DEFAULT = ("email", "username", "active", "confirmed", "roles")
"""The fields that an import takes."""
FIELDS = ("id", *DEFAULT, "two_factor", "created_at", "last_seen_at")

Progress = Callable[[int], None]


def export_file(
    accounts: Filter,
    file: str,
    *,
    format: str | None = None,
    fields: Sequence[str] = DEFAULT,
    progress: Progress,
) -> int:
    """Write the accounts into a file, which appears whole and is readable by its owner alone.

    Return how many there are.

    :param format: ``csv`` or ``jsonl``; None tells it by the file's name.
    :raises Invalid: a field is unknown, or the name tells no format.
    :raises OpsError: the file cannot be written.
    """
    format = codecs.format_of(file, format)
    check_fields(fields)
    with written(file) as lines:
        return _write(lines, accounts, format, fields, progress)


def export_stream(
    accounts: Filter,
    raw: BinaryIO,
    *,
    format: str | None = None,
    fields: Sequence[str] = DEFAULT,
    progress: Progress,
) -> None:
    """Write the accounts into an open stream, as csv unless ``format`` says otherwise."""
    check_fields(fields)
    with encoded(raw, "") as lines:
        _write(lines, accounts, format or "csv", fields, progress)


def check_fields(fields: Sequence[str]) -> None:
    """Check the names of fields.

    :raises Invalid: one is unknown; names them all.
    """
    for name in fields:
        if name not in FIELDS:
            near = text.did_you_mean(name, FIELDS)
            words = f"no field {text.shortened(name)}; there are {', '.join(FIELDS)}"
            raise Invalid(words, hint=near)


def _write(
    lines: TextIO, accounts: Filter, format: str, fields: Sequence[str], progress: Progress
) -> int:
    counted = _Counted(_rows(accounts, format, fields), progress)
    if format == "csv":
        writer = csv.writer(lines, lineterminator="\r\n")
        writer.writerow(fields)
        writer.writerows(counted)
    else:
        lines.writelines(json.dumps(dict(zip(fields, row, strict=True))) + "\n" for row in counted)
    return counted.count


class _Counted:
    """Rows that are counted as they pass."""

    def __init__(self, rows: Iterator[Any], progress: Progress) -> None:
        self.count = 0
        self._rows, self._progress = rows, progress

    def __iter__(self) -> Iterator[Any]:
        while chunk := list(islice(self._rows, CHUNK)):
            yield from chunk
            self.count += len(chunk)
            self._progress(self.count)


# --- reading -----------------------------------------------------------------

_TEXT = sa.Text()
"""Without the check of our type for each value: the file shows damaged ones as they are."""

_COLUMNS: dict[str, Any] = {
    "id": User.id,
    "email": sa.type_coerce(User.email, _TEXT),
    "username": sa.type_coerce(User.username, _TEXT),
    "active": User.active,
    "confirmed": User.confirmed_at.is_not(None),
    "two_factor": User.tf_primary_method.is_not(None),
    "created_at": User.created_at,
    "last_seen_at": sa.case((User.login_count > 0, User.idle_since)),
}
_TRUTHS = ("active", "confirmed", "two_factor")
_NAMES = ("email", "username")
_TIMES = ("created_at", "last_seen_at")


def _column(name: str, format: str) -> Any:
    """Return a column as the file has it, so that Python has little to do for each row."""
    # The roles take the place of the id to which they belong.
    column: Any = User.id if name == "roles" else _COLUMNS[name]
    if format == "csv" and name in _TRUTHS:
        return sa.case((column, "true"), else_="false")
    if format == "csv" and name in _NAMES:
        first = sa.func.substr(sa.func.ltrim(column, "'"), 1, 1)
        return sa.case((first.in_(FORMULAS), sa.literal("'") + column), else_=column)
    return column


def _rows(accounts: Filter, format: str, fields: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Return the fields of each account, in the order of the ids."""
    if accounts.status == "deleted":
        raise Invalid("a deleted account has nothing to export")
    session = db.session()
    if session.get_bind().dialect.name == "postgresql" and not session.in_transaction():
        # Both cursors read the accounts and grants of one moment.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    criteria = accounts.criteria()
    columns = [_column(name, format).label(f"field_{i}") for i, name in enumerate(fields)]
    rows: Iterator[Any] = _streamed(sa.select(*columns).where(*criteria).order_by(User.id))
    times = [i for i, name in enumerate(fields) if name in _TIMES]
    if times:
        rows = _with_times(rows, times)
    if "roles" in fields:
        rows = _with_roles(rows, fields.index("roles"), _Gifts(criteria), format)
    return rows


def _with_times(rows: Iterator[Any], places: Sequence[int]) -> Iterator[list[Any]]:
    for row in rows:
        values = list(row)
        for place in places:
            values[place] = clock.rfc3339(values[place]) if values[place] else None
        yield values


def _with_roles(rows: Iterator[Any], place: int, gifts: _Gifts, format: str) -> Iterator[list[Any]]:
    for row in rows:
        values = list(row)
        roles = gifts.of(values[place])
        values[place] = roles if format != "csv" else ", ".join(roles) if roles else None
        yield values


class _Gifts:
    """The live roles of the accounts, read beside them in the same order."""

    def __init__(self, criteria: Sequence[sa.ColumnElement[bool]]) -> None:
        chosen = sa.select(User.id).where(*criteria)
        self._rows = _streamed(
            sa.select(Grant.user_id, Role.name, Grant.valid_until)
            .join(Role, Role.id == Grant.role_id)
            .where(Grant.is_live(), Role.deleted_at.is_(None), Grant.user_id.in_(chosen))
            .order_by(Grant.user_id, Role.name)
        )
        self._next = next(self._rows, None)

    def of(self, user_id: int) -> list[str]:
        """Return the roles of an account, with their ends; the accounts come in order."""
        roles: list[str] = []
        while self._next is not None and self._next[0] <= user_id:
            owner, name, end = self._next
            if owner == user_id:
                roles.append(f"{name} until {clock.rfc3339(end)}" if end else name)
            self._next = next(self._rows, None)
        return roles


def _streamed(query: sa.Select[*tuple[Any, ...]]) -> Iterator[Any]:
    return iter(db.session.execute(query, execution_options={"yield_per": CHUNK}))
