"""The judge of a database: plain sqlite3 and psycopg, and no code of the project.

It verifies the chain by its documented formula, replays the events, and compares the
result with the tables. So a fault of the project's own verifier cannot hide another.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.support.replay import Replay

Rows = list[tuple[Any, ...]]
ADMINISTRATORS = (
    "SELECT u.id FROM ops_grants g JOIN ops_roles r ON r.id = g.role_id"
    " JOIN ops_users u ON u.id = g.user_id WHERE r.name = 'admin' AND r.deleted_at IS NULL"
    " AND g.ended_at IS NULL AND g.valid_until IS NULL"
    " AND u.active AND u.deleted_at IS NULL AND u.password IS NOT NULL"
)


class Reader:
    """One view of a database: all its answers are of the same moment.

    :param connection: of the driver.
    :param key: the audit key.
    """

    def __init__(self, connection: Any, key: bytes) -> None:
        self._connection = connection
        self._key = key

    def rows(self, query: str) -> Rows:
        """Return the rows of a query."""
        return [tuple(row) for row in self._connection.execute(query).fetchall()]

    def renew(self) -> None:
        """Let the answers from here on be of a later moment."""
        self._connection.rollback()
        if isinstance(self._connection, sqlite3.Connection):
            self._connection.execute("BEGIN")

    def has_tables(self) -> bool:
        """Return whether the database was initialised."""
        try:
            self.rows("SELECT 1 FROM ops_audit_head")
        except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
            return False
        return True

    def actions(self) -> list[str]:
        """Return the action of every event, in order."""
        return [
            action for (action,) in self.rows("SELECT action FROM ops_audit_events ORDER BY seq")
        ]

    def administrators(self) -> int:
        """Return the number of accounts that hold admin without an end and can log in."""
        return len(self.rows(ADMINISTRATORS))

    def violations(self) -> list[str]:
        """Return a sentence for each promise that the database breaks."""
        return [*self._damage(), *self._breaks_of_the_chain(), *self._differences()]

    def _damage(self) -> Iterator[str]:
        if isinstance(self._connection, sqlite3.Connection):
            if (says := self.rows("PRAGMA integrity_check")) != [("ok",)]:
                yield f"the file is damaged: {says}"
            if rows := self.rows("PRAGMA foreign_key_check"):
                yield f"rows refer to nothing: {rows}"

    def _breaks_of_the_chain(self) -> Iterator[str]:
        previous, last = "0" * 64, 0
        for seq, at, *texts, before, own in self.rows(
            "SELECT seq, at, actor, door, action, subject, reason, before, after, correlation,"
            " previous, hash FROM ops_audit_events ORDER BY seq"
        ):
            last += 1
            if (seq, before) != (last, previous):
                yield f"event {seq} does not follow event {last - 1}"
            body = json.dumps([seq, _moment(at), *texts], separators=(",", ":"))
            message = f"opsapp-audit-v1\0{before}\0{body}".encode()
            if not hmac.compare_digest(hmac.digest(self._key, message, "sha256").hex(), own):
                yield f"event {seq} has another hash"
            previous = own
        if (heads := self.rows("SELECT seq, hash FROM ops_audit_head")) != [(last, previous)]:
            yield f"the head is {heads}, and the last event is {last}"

    def _differences(self) -> Iterator[str]:
        query = (
            "SELECT action, subject, before, after FROM ops_audit_events"
            " WHERE (subject LIKE 'user%' OR subject LIKE 'role:%')"
            " AND action NOT LIKE 'user:token:%' AND action NOT LIKE 'user:sessions:%'"
            " AND action NOT LIKE 'user:logins:%' ORDER BY seq"
        )
        try:
            told = Replay(self.rows(query))
        except (AssertionError, KeyError, ValueError) as error:
            yield f"the events contradict each other: {error!r}"
            return
        accounts = {
            f"user:{id}": {"active": bool(active), "password": bool(password)}
            for id, active, password in self.rows(
                "SELECT id, active, password IS NOT NULL FROM ops_users WHERE deleted_at IS NULL"
            )
        }
        if told.accounts != accounts:
            yield f"accounts are {accounts}, and the events tell {told.accounts}"
        roles = dict(self.rows("SELECT id, name FROM ops_roles WHERE deleted_at IS NULL"))
        told_roles = {subject: role["name"] for subject, role in told.roles.items()}
        if {f"role:{id}": name for id, name in roles.items()} != told_roles:
            yield f"roles are {roles}, and the events tell {told.roles}"
        held = {
            (f"user:{user}", f"role:{role}")
            for user, role in self.rows(
                "SELECT user_id, role_id FROM ops_grants WHERE ended_at IS NULL"
            )
        }
        if set(told.held) != held:
            yield f"grants are {held}, and the events tell {told.held}"


def _moment(at: str | datetime) -> str:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


@contextmanager
def reading(url: str, instance: Path) -> Iterator[Reader]:
    """Open a reader of one moment of the database."""
    file = instance / "secrets" / "opsapp_audit_key"
    key = file.read_bytes().strip() if file.exists() else b""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as file_connection:
            file_connection.execute("BEGIN")
            yield Reader(file_connection, key)
        return
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield Reader(connection, key)


def broken_promises(url: str, instance: Path) -> list[str]:
    """Return what the database breaks; nothing where it was not initialised."""
    with reading(url, instance) as reader:
        return reader.violations() if reader.has_tables() else []
