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
OF_NO_TABLE = frozenset(
    {
        *("user:account:unlock", "user:data:export", "user:email:confirm", "user:reset:send"),
        *("user:password:rehash", "user:codes:set", "user:codes:use", "user:review:decide"),
    }
)
"""The actions that change nothing of what the reader compares."""
ENDING = (
    *("user:sessions:end", "user:access:reset", "user:password:set", "user:role:revoke"),
    *("user:account:deactivate", "user:account:delete"),
)
"""The actions that end sessions; at the pages of an account, all but its own."""


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
        """Return the number of accounts that hold admin without an end and can sign in."""
        return len(self.rows(ADMINISTRATORS))

    def violations(self) -> list[str]:
        """Return a sentence for each promise that the database breaks."""
        return [
            *self._damage(),
            *self._breaks_of_the_chain(),
            *self._differences(),
            *self._open_sessions(),
        ]

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
            body = json.dumps([seq, _written(at), *texts], separators=(",", ":"))
            message = f"opsapp-audit-v1\0{before}\0{body}".encode()
            if not hmac.compare_digest(hmac.digest(self._key, message, "sha256").hex(), own):
                yield f"event {seq} has another hash"
            previous = own
        if (heads := self.rows("SELECT seq, hash FROM ops_audit_head")) != [(last, previous)]:
            yield f"the head is {heads}, and the last event is {last}"

    def _differences(self) -> Iterator[str]:
        events = self.rows(
            "SELECT action, subject, before, after FROM ops_audit_events"
            " WHERE action LIKE 'user:%' OR action LIKE 'role:%' ORDER BY seq"
        )
        try:
            replay = Replay([event for event in events if event[0] not in OF_NO_TABLE])
        except (AssertionError, KeyError, ValueError) as error:
            yield f"the events contradict each other: {error!r}"
            return
        accounts = {
            f"user:{id}": {"active": bool(active), "password": bool(password)}
            for id, active, password in self.rows(
                "SELECT id, active, password IS NOT NULL FROM ops_users WHERE deleted_at IS NULL"
            )
        }
        if replay.accounts != accounts:
            yield f"accounts are {accounts}, and the events tell {replay.accounts}"
        roles = dict(self.rows("SELECT id, name FROM ops_roles WHERE deleted_at IS NULL"))
        replayed_roles = {subject: role["name"] for subject, role in replay.roles.items()}
        if {f"role:{id}": name for id, name in roles.items()} != replayed_roles:
            yield f"roles are {roles}, and the events tell {replay.roles}"
        held = {
            (f"user:{user}", f"role:{role}")
            for user, role in self.rows(
                "SELECT user_id, role_id FROM ops_grants WHERE ended_at IS NULL"
            )
        }
        if set(replay.held) != held:
            yield f"grants are {held}, and the events tell {replay.held}"
        tokens = {
            (f"user:{user}", name): self._fingerprint(key)
            for user, name, key in self.rows(
                "SELECT t.user_id, t.name, t.key FROM ops_api_tokens t"
                " JOIN ops_users u ON u.id = t.user_id AND u.fs_uniquifier = t.uniquifier"
                " WHERE t.ended_at IS NULL"
            )
        }
        if replay.tokens != tokens:
            yield f"tokens are {tokens}, and the events tell {replay.tokens}"

    def _fingerprint(self, secret: str) -> str:
        message = f"opsapp-secret-v1\0{secret}\0".encode()
        return hmac.digest(self._key, message, "sha256").hex()[:32]

    def _open_sessions(self) -> Iterator[str]:
        opened = self.rows(
            "SELECT s.id, s.user_id, s.opened_at FROM ops_user_sessions s"
            " JOIN ops_users u ON u.id = s.user_id AND u.fs_uniquifier = s.uniquifier"
            " WHERE s.ended_at IS NULL"
        )
        ends = self.rows(
            "SELECT at, subject, before, after FROM ops_audit_events"
            f" WHERE action IN {ENDING} AND door <> 'web' ORDER BY seq"
        )
        for at, subject, before, after in ends:
            users = json.loads(after or "{}").get("ids") or [int(subject.removeprefix("user:"))]
            numbers = json.loads(before or "{}").get("sessions", "all")
            for id, user, opened_at in opened:
                is_meant = id in numbers if isinstance(numbers, list) else True
                if user in users and is_meant and _moment(opened_at) < _moment(at):
                    yield f"session {id} of user:{user} is open, and an event of {at} ended it"


def _moment(at: str | datetime) -> datetime:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _written(at: str | datetime) -> str:
    return _moment(at).isoformat().replace("+00:00", "Z")


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
