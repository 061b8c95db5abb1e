"""The programs beside which `bench.transfer` measures: what a person would write instead.

``python -m bench.transfer_peers NAME DATABASE FILE``: DATABASE is a URL of opsapp's, or the
file of another application; FILE is a csv with the columns email and username.
"""

from __future__ import annotations

import csv
import os
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

_COLUMNS = (
    "email", "username", "active", "fs_uniquifier", "confirmed_at", "login_count",
    "idle_since", "created_at", "updated_at",
)  # fmt: skip


def _rows(file: str) -> Iterator[tuple[object, ...]]:
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"
    with open(file, newline="") as lines:  # noqa: PTH123  (as a script would)
        for row in csv.DictReader(lines):
            email, username = row["email"].strip().lower(), row["username"] or None
            yield email, username, True, uuid4().hex, now, 0, now, now, now


def executemany(url: str, file: str) -> None:
    """Insert the rows in one transaction, and look at nothing."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("PRAGMA synchronous=FULL")
    places = ", ".join("?" for _column in _COLUMNS)
    insert = f"INSERT INTO ops_users ({', '.join(_COLUMNS)}) VALUES ({places})"  # noqa: S608
    connection.executemany(insert, _rows(file))
    connection.commit()
    connection.close()


def copy(url: str, file: str) -> None:
    """Insert the rows by COPY, and look at nothing."""
    import psycopg

    into = f"COPY ops_users ({', '.join(_COLUMNS)}) FROM STDIN"
    with (
        psycopg.connect(url) as connection,
        connection.cursor() as cursor,
        cursor.copy(into) as writer,  # type: ignore[arg-type]  # it is a literal
    ):
        for row in _rows(file):
            writer.write_row(row)


def django(database: str, file: str) -> None:
    """Validate each account, and create them by ``bulk_create``."""
    import django as package
    from django.conf import settings  # type: ignore[import-not-found]

    settings.configure(
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        USE_TZ=True,
    )
    package.setup()
    from django.contrib.auth.models import User  # type: ignore[import-not-found]
    from django.core.management import call_command  # type: ignore[import-not-found]
    from django.db import transaction  # type: ignore[import-not-found]

    call_command("migrate", verbosity=0)
    with open(file, newline="") as lines, transaction.atomic():  # noqa: PTH123
        users = []
        for row in csv.DictReader(lines):
            user = User(email=row["email"], username=row["username"])
            user.set_unusable_password()
            user.full_clean()
            users.append(user)
        User.objects.bulk_create(users, batch_size=1000)


def flask_security(database: str, file: str) -> None:
    """Create the accounts by the datastore, one after the other."""
    os.environ["MINIMAL_DATABASE"] = database
    from .minimal_security.app import create_app, db

    app = create_app()
    with app.app_context(), open(file, newline="") as lines:  # noqa: PTH123
        db.create_all()
        security = app.extensions["security"]
        for row in csv.DictReader(lines):
            email = security.mail_util.validate(row["email"])
            # As the quick start does, which looks for the account first.
            if not security.datastore.find_user(email=email):
                security.datastore.create_user(email=email, password="not a hash")  # noqa: S106
        db.session.commit()


def cursor(url: str, file: str) -> None:
    """Write the accounts from a driver's cursor into a ``csv.writer``."""
    query = "SELECT email, username, active, confirmed_at IS NOT NULL FROM ops_users"
    with open(file, "w", newline="") as lines:  # noqa: PTH123
        writer = csv.writer(lines)
        if url.startswith("sqlite"):
            writer.writerows(sqlite3.connect(url.removeprefix("sqlite:///")).execute(query))
            return
        import psycopg

        with psycopg.connect(url) as connection, connection.cursor("export") as rows:
            rows.itersize = 2000
            writer.writerows(rows.execute(query))


PEERS = {
    "executemany": executemany,
    "copy": copy,
    "django": django,
    "flask-security": flask_security,
    "cursor": cursor,
}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    PEERS[name](*arguments)
