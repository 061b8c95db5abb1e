"""Plain passwords of a batch, hashed on all cores before the gate, or only checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import sqlalchemy as sa
from flask import Flask

from ...engine.rows import among
from ...errors import Invalid
from ...extensions import db, this_app
from ...models import User
from ...types import Progress
from .. import passwords
from .fields import Row

UNHASHED = "unhashed"
"""The hash of a password that is only checked. It differs from that of every account."""


def hash_all(rows: Sequence[Row], *, check: bool, progress: Progress) -> dict[int, str]:
    """Hash the plain passwords of these rows on all cores; return why some are refused.

    A password that its account has already keeps the hash. The reasons are by the index of
    the row.

    :param check: only apply the policy, which is much faster.
    :param progress: gets the number of passwords that are done, after each.
    """
    pairs = [(index, row) for index, row in enumerate(rows) if row.plain is not None]
    if not pairs:
        return {}
    hashes = _stored_hashes([row.email for _index, row in pairs])
    passwords.start()
    hashed = partial(_hash_one, this_app(), _check_only if check else passwords.hash_password)
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "opsapp-hash")
    reasons = {}
    try:
        plain = [(row.plain or "", hashes.get(row.email)) for _index, row in pairs]
        results = pool.map(hashed, *zip(*plain, strict=True))
        for count, ((index, row), (hash, reason)) in enumerate(zip(pairs, results, strict=True), 1):
            row.password, row.plain = hash, None
            if reason is not None:
                reasons[index] = reason
            progress(count)
    finally:
        pool.shutdown(cancel_futures=True)
    return reasons


def policy_reasons(rows: Sequence[Row]) -> dict[int, str]:
    """Return why the policy refuses passwords, by the index of the row; the others stay plain."""
    reasons = {}
    for index, row in enumerate(rows):
        if row.plain is not None:
            try:
                passwords.check(row.plain)
            except Invalid as error:
                reasons[index] = _reason(error)
    return reasons


def _stored_hashes(emails: list[str]) -> dict[str, str]:
    connection = db.session.connection()
    query = sa.select(User.email, User.password).where(among(User.email, emails))
    rows = connection.execute(query).all()
    db.session.rollback()  # PostgreSQL ends a transaction that is idle during the hashing.
    return {email: hash for email, hash in rows if email and hash}


def _check_only(plain: str) -> str:
    passwords.check(plain)
    return UNHASHED


def _hash_one(
    app: Flask, make: Callable[[str], str], plain: str, present: str | None
) -> tuple[str | None, str | None]:
    with app.app_context():
        try:
            if passwords.matches(plain, present):
                return present, None
            return make(plain), None
        except Invalid as error:
            return None, _reason(error)


def _reason(error: Invalid) -> str:
    return error.message.removeprefix("password: ")
