"""Plain passwords of a batch, hashed on all cores before the gate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import sqlalchemy as sa
from flask import Flask

from ...engine.rows import among
from ...errors import Invalid
from ...extensions import db, this_app
from ...models import User
from .. import passwords
from .fields import Row


def hash_all(rows: Sequence[Row]) -> dict[int, str]:
    """Hash the plain passwords of these rows on all cores; return why some are refused.

    A password that its account has already keeps the hash. The reasons are by the index of
    the row.
    """
    chosen = [(index, row) for index, row in enumerate(rows) if row.plain is not None]
    if not chosen:
        return {}
    stored = _stored([row.email for _index, row in chosen])
    passwords.start()
    hashed = partial(_hashed, this_app())
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "opsapp-hash")
    try:
        plain = [(row.plain or "", stored.get(row.email)) for _index, row in chosen]
        results = list(pool.map(hashed, *zip(*plain, strict=True)))
    finally:
        pool.shutdown(cancel_futures=True)
    reasons = {}
    for (index, row), (hash, reason) in zip(chosen, results, strict=True):
        row.password, row.plain = hash, None
        if reason is not None:
            reasons[index] = reason
    return reasons


def _stored(emails: list[str]) -> dict[str, str]:
    connection = db.session.connection()
    query = sa.select(User.email, User.password).where(among(User.email, emails))
    rows = connection.execute(query).all()
    db.session.rollback()  # PostgreSQL ends a transaction that is idle during the hashing.
    return {email: hash for email, hash in rows if email and hash}


def _hashed(app: Flask, plain: str, stored: str | None) -> tuple[str | None, str | None]:
    with app.app_context():
        try:
            if passwords.matches(plain, stored):
                return stored, None
            return passwords.hashed(plain), None
        except Invalid as error:
            return None, error.message.removeprefix("password: ")
