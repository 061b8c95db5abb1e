"""Canaries: the secrets of each test, looked for in all that opsapp shows, logs and writes.

``Result`` hands over what a command printed, and the fixtures of databases what is left when a
test is over. A secret that is found there fails the test.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from tests.support import Database

PASSWORD = "correct horse battery staple"
SECRETS = {
    name: f"{name.lower()}-q8Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE"
    for name in ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY")
}
"""The secret settings that production asks for."""
PLANTED = frozenset({PASSWORD, *SECRETS.values()})

_STORED = "SELECT password, tf_totp_secret, CAST(mf_recovery_codes AS text) FROM ops_users"
_TABLES = (
    "ops_audit_events", "ops_audit_head", "ops_audit_pending", "ops_audit_personal", "ops_logins",
    "ops_api_tokens", "ops_user_sessions", "ops_job_runs", "ops_job_output", "ops_mail_messages",
    "ops_profile_series", "ops_profile_traces",
)  # fmt: skip
SHORT = 20
"""No secret of opsapp is as short: texts of tests stand in some places of secrets."""
_printed: list[str] = []
_TOKEN = re.compile(r"opsapp_[A-Za-z0-9_-]{43}")
"""An API token, which is shown once and stored nowhere."""
_DATABASES = ("SQLite format 3", "PGDMP")


def printed(text: str) -> None:
    """Remember what a command has printed, until the test is over."""
    _printed.append(text)


def forget_printed() -> None:
    """Leave out what was printed until now: a job passes on what its own program prints."""
    _printed.clear()


def leaks(database: Database) -> list[str]:
    """Return each place with a secret: what was printed, the tables, the files."""
    with contextlib.closing(_connected(database)) as connection:
        stored = _stored(connection)
        tables = [(table, _content(connection, table)) for table in _TABLES]
    keys = {*PLANTED, *_keys(database.instance)}
    outputs = "\0".join(_printed)
    forget_printed()
    leaks = _found(outputs, {*keys, *stored}, "what a command printed")
    for place, content in tables:
        leaks += _found(content, {*keys, *stored, *_TOKEN.findall(content)}, place)
    for path in _files(database.instance):
        content = path.read_bytes().decode(errors="replace")
        hashes = () if content.startswith(_DATABASES) or "-wal" in path.name else stored
        leaks += _found(content, {*keys, *hashes, *_TOKEN.findall(content)}, str(path))
    return leaks


def _connected(database: Database) -> Any:
    """Return a connection of the driver: it is much cheaper than an engine, for every test."""
    if database.is_sqlite:
        return sqlite3.connect(database.url.removeprefix("sqlite:///"))
    return psycopg.connect(database.url, autocommit=True)


def _found(content: str, secrets: Iterable[str], place: str) -> list[str]:
    return [f"{place}: {secret}" for secret in secrets if secret in content]


def _keys(instance: Path) -> Iterator[str]:
    """Yield the generated secrets of an installation."""
    with contextlib.suppress(OSError):
        for path in (instance / "secrets").iterdir():
            if len(secret := path.read_text().strip()) > SHORT:
                yield secret


def _stored(connection: Any) -> set[str]:
    """Return the hashes, TOTP secrets and recovery codes that the database has."""
    values = {value for row in _rows(connection, _STORED) for value in row}
    return {value for value in values if isinstance(value, str) and len(value) > SHORT}


def _content(connection: Any, table: str) -> str:
    return "\n".join(map(repr, _rows(connection, f"SELECT * FROM {table}")))


def _rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    """Return the rows; none of a database without the table, damaged, or with strange dates."""
    try:
        rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    except (sqlite3.DatabaseError, psycopg.Error, NotImplementedError):
        return []
    return rows


def _files(instance: Path) -> Iterator[Path]:
    for path in instance.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            yield path


def _refuse_in_arguments(event: str, values: tuple[Any, ...]) -> None:
    """Fail where a process is started with a secret that `ps` would show."""
    if event == "subprocess.Popen" and any(secret in str(values[1]) for secret in PLANTED):
        raise AssertionError(f"a secret is among the arguments of {values[0]}")


sys.addaudithook(_refuse_in_arguments)
