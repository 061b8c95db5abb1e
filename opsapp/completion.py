"""The names a shell completes, read from the database without the app and its weight.

Completion runs at every press of TAB: it opens the database directly, gives up
within a fraction of a second, and says nothing when the database is away.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any
from urllib.parse import quote, unquote

from . import config, permissions

LIMIT = 50
SECONDS = 0.2

_QUERIES = {
    "user": "SELECT email FROM users WHERE email >= :start AND email < :end"
    " ORDER BY email LIMIT :limit",
    "role": "SELECT name FROM roles WHERE deleted_at IS NULL AND name >= :start AND name < :end"
    " ORDER BY name LIMIT :limit",
}


def names(kind: str, start: str) -> list[str]:
    """Up to 50 users, roles or permissions that begin with ``start``; none if it cannot tell."""
    if kind == "permission":
        return sorted(name for name in permissions.DECLARED if name.startswith(start))
    start = start.casefold()
    values = {"start": start, "end": start + "\U0010fffd", "limit": LIMIT}
    try:
        found = _read(config.database_url(), _QUERIES[kind], values)
    except Exception:  # noqa: BLE001  (a press of TAB has nobody to tell)
        return []
    return [name for name in found if name.isprintable()]


def _read(url: str, query: str, values: dict[str, Any]) -> list[str]:
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        path = quote(unquote(rest.removeprefix("/")))
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=SECONDS)
        with closing(database) as connection:
            return [row[0] for row in connection.execute(query, values)]
    import psycopg

    timeout = f"-c statement_timeout={int(SECONDS * 1000)}"
    with psycopg.connect(f"postgresql://{rest}", connect_timeout=2, options=timeout) as connection:
        placeholders = {name: f"%({name})s" for name in values}
        for name, placeholder in placeholders.items():
            query = query.replace(f":{name}", placeholder)
        return [row[0] for row in connection.execute(query, values)]
