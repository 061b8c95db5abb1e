"""Names for the shell's completion, read from the database without the application.

Completion runs at every press of TAB: it opens the database directly, gives up
within a fraction of a second, and says nothing when the database is away.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any
from urllib.parse import quote, unquote

from .. import addresses, libpq, settings
from ..accounts import permissions

LIMIT = 50
SECONDS = 0.2

_QUERIES = {
    "user": "SELECT email FROM ops_users WHERE email >= :start AND email < :end"
    " ORDER BY email LIMIT :limit",
    "role": "SELECT name FROM ops_roles WHERE deleted_at IS NULL AND name >= :start AND name < :end"
    " ORDER BY name LIMIT :limit",
    "job": "SELECT DISTINCT name FROM"
    " (SELECT name FROM ops_job_runs ORDER BY id DESC LIMIT 1000) AS newest"
    " WHERE name >= :start AND name < :end ORDER BY name LIMIT :limit",
    "action": "SELECT DISTINCT action FROM ops_audit_events"
    " WHERE action >= :start AND action < :end ORDER BY action LIMIT :limit",
    "permission": "SELECT permissions FROM ops_roles WHERE deleted_at IS NULL",
}


def names(kind: str, start: str) -> list[str]:
    """Return up to 50 names that begin with ``start``; none if the database is away.

    :param kind: ``user``, ``role``, ``job``, ``action`` or ``permission``.
    """
    start = addresses.canonical(start)
    values = {"start": start, "end": start + "\U0010fffd", "limit": LIMIT}
    try:
        rows = _read(settings.get("OPSAPP_DATABASE_URL"), _QUERIES[kind], values)
        if kind == "permission":
            rows = [str(name) for value in rows for name in _parse_list(value)]
    except Exception:  # noqa: BLE001  (a press of TAB has no place for a message)
        rows = []
    if kind == "permission":
        names = {*permissions.DECLARED, *rows}
        rows = sorted(name for name in names if name.startswith(start))
    return [name for name in rows if name.isprintable()][:LIMIT]


def _parse_list(value: str) -> list[Any]:
    try:
        parsed = json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return []  # One damaged role hides no other's permissions.
    return parsed if isinstance(parsed, list) else []


def _read(url: str, query: str, values: dict[str, Any]) -> list[str]:
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        path = quote(unquote(rest.removeprefix("/")))
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=SECONDS)
        with closing(database) as connection:
            return [row[0] for row in connection.execute(query, values)]
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    for name in values:
        query = query.replace(f":{name}", f"%({name})s")
    keywords: dict[str, Any] = conninfo_to_dict(f"postgresql://{rest}")
    options = libpq.parameters(keywords).get("options") or ""
    keywords |= {
        "connect_timeout": 2,
        "options": f"{options} -c statement_timeout={int(SECONDS * 1000)}",
    }
    with psycopg.connect(**keywords) as connection:
        return [row[0] for row in connection.execute(query, values)]
