"""An export: the accounts of a filter as one snapshot, read by two cursors in flat memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from math import inf
from typing import Any, BinaryIO, TextIO

import sqlalchemy as sa

from ... import clock, text
from ...engine.connections import wait_for_reader
from ...errors import Invalid
from ...extensions import db
from ...models import Grant, Role, User
from ...types import Progress
from ..listing import Filter
from . import codecs
from .records import FIRST_OF_QUOTED, quote_formula
from .streams import open_file, text_stream

CHUNK = 500
DEFAULT = ("email", "username", "active", "confirmed", "roles")
"""The fields that an import takes."""
FIELDS = ("id", *DEFAULT, "two_factor", "created_at", "last_seen_at")


def export(
    accounts: Filter,
    target: str | BinaryIO,
    *,
    format: str | None = None,
    fields: Sequence[str] = DEFAULT,
    progress: Progress,
) -> int:
    """Write the accounts, and return how many there are.

    :param target: an open stream; or a file, which appears whole and is readable by its owner
        alone.
    :param format: ``csv`` or ``jsonl``; None tells it by the file's name, and a stream is csv.
    :raises Invalid: a field is unknown, or the name tells no format.
    :raises OpsError: the file cannot be written.
    """
    check_fields(fields)
    if isinstance(target, str):
        format, place = codecs.format_of(target, format, "--format"), open_file(target)
    else:
        format, place = format or "csv", text_stream(target, "")
    with place as lines:
        return _write(lines, accounts, format, fields, progress)


def check_fields(fields: Sequence[str]) -> None:
    """Check the names of fields.

    :raises Invalid: one is unknown; names them all.
    """
    for name in fields:
        if name not in FIELDS:
            near = text.did_you_mean(name, FIELDS)
            words = f"no field {text.truncate(name)}; there are {', '.join(FIELDS)}"
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
        objects = (dict(zip(fields, row, strict=True)) for row in counted)
        # Bytes in the place of a name are damage, and no reason to stop.
        lines.writelines(json.dumps(each, default=str) + "\n" for each in objects)
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

_COLUMNS: dict[str, Any] = {
    "id": User.id,
    "email": sa.type_coerce(User.email, sa.Text()),
    "username": sa.type_coerce(User.username, sa.Text()),
    "active": sa.type_coerce(User.active, sa.Integer()),
    "confirmed": sa.type_coerce(User.confirmed_at.is_not(None), sa.Integer()),
    "roles": User.id,
    "two_factor": sa.type_coerce(User.tf_primary_method.is_not(None), sa.Integer()),
    "created_at": User.created_at,
    "last_seen_at": sa.case((User.is_seen(), User.idle_since)),
}
"""The columns of the fields; the roles take the place of the id to which they belong. Damaged
names are written as they are."""
_TRUTHS = ("active", "confirmed", "two_factor")
_NAMES = ("email", "username")


def _rows(accounts: Filter, format: str, fields: Sequence[str]) -> Iterator[list[Any]]:
    """Return the fields of each account, in the order of the ids."""
    if accounts.status == "deleted":
        raise Invalid("a deleted account has nothing to export")
    session = db.session()
    if session.get_bind().dialect.name == "postgresql" and not session.in_transaction():
        # Both cursors read the accounts and grants of one moment.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    wait_for_reader(session.connection())
    criteria = accounts.criteria()
    columns = [_COLUMNS[name].label(f"field_{i}") for i, name in enumerate(fields)]
    users = _stream(sa.select(*columns).where(*criteria).order_by(User.id))
    is_csv = format == "csv"
    names = [i for i, name in enumerate(fields) if name in _NAMES and is_csv]
    truths = [i for i, name in enumerate(fields) if name in _TRUTHS]
    times = [i for i, name in enumerate(fields) if name.endswith("_at")]
    words = ("false", "true") if is_csv else (False, True)
    formatted = _format_rows(users, names, truths, times, words)
    if "roles" in fields:
        return _with_roles(formatted, fields.index("roles"), _Gifts(criteria), is_csv=is_csv)
    return formatted


def _format_rows(
    rows: Iterator[Any],
    names: Sequence[int],
    truths: Sequence[int],
    times: Sequence[int],
    words: Sequence[Any],
) -> Iterator[list[Any]]:
    """Yield the rows, with the values at these places as the file has them.

    :param words: for false and true.
    """
    for row in rows:
        values = list(row)
        for place in names:
            name = values[place]
            if name and name[0] in FIRST_OF_QUOTED:
                values[place] = quote_formula(name)
        for place in truths:
            values[place] = words[bool(values[place])]
        for place in times:
            values[place] = values[place] and clock.rfc3339(values[place])
        yield values


def _with_roles(
    rows: Iterator[list[Any]], place: int, gifts: _Gifts, *, is_csv: bool
) -> Iterator[list[Any]]:
    """Yield the rows, with roles for the id at this place."""
    for values in rows:
        user_id = values[place]
        roles = gifts.of(user_id) if user_id >= gifts.owner else []
        values[place] = ", ".join(roles) if is_csv else roles
        yield values


class _Gifts:
    """The live roles of the accounts, read beside them in the same order."""

    def __init__(self, criteria: Sequence[sa.ColumnElement[bool]]) -> None:
        user_ids = sa.select(User.id).where(*criteria)
        self._rows = _stream(
            sa.select(Grant.user_id, Role.name, Grant.valid_until)
            .join(Role, Role.id == Grant.role_id)
            .where(Grant.is_live(), Role.deleted_at.is_(None), Grant.user_id.in_(user_ids))
            .order_by(Grant.user_id, Role.name)
        )
        self._move()

    def _move(self) -> None:
        self._next = next(self._rows, None)
        self.owner = inf if self._next is None else self._next[0]

    def of(self, user_id: int) -> list[str]:
        """Return the roles of an account, with their ends; the accounts come in order."""
        roles: list[str] = []
        while self._next is not None and self._next[0] <= user_id:
            owner, name, end = self._next
            if owner == user_id:
                roles.append(f"{name} until {clock.rfc3339(end)}" if end else name)
            self._move()
        return roles


def _stream(query: sa.Select[*tuple[Any, ...]]) -> Iterator[Any]:
    # Not by the session, whose loading of objects costs each row as much again; and in chunks,
    # since SQLAlchemy takes as long to hand over a row as the driver takes to read it.
    options = {"yield_per": CHUNK}
    result = db.session.connection().execute(query, execution_options=options)
    return chain.from_iterable(result.partitions())
