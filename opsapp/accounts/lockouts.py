"""Lockouts: attempts are counted before the password is checked.

Ten failures in a row lock a name for 15 minutes, and each further ten twice as long. A name
is an address or a username as it was typed, with or without an account, so a lockout does
not reveal which accounts exist. A browser that has signed in to the account before, and an
open session, have counters of their own: strangers cannot lock the owner out.

docs/decisions/web.md#a-try-is-counted-before-the-password-is-checked
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import addresses, clock
from ..engine import locks
from ..engine.rows import among, remove
from ..models import Login, LoginFailures, User
from ..unit import chain
from ..unit.ledger import audit_key
from ..unit.work import Unit, bookkeeping
from . import logins
from .logins import Client

FAILURES = 10
"""Consecutive failures that lock a name."""
LOCK = timedelta(minutes=15)
LONGEST_LOCK = timedelta(hours=4)
FAILURES_OF_NETWORK = 30
WINDOW = timedelta(minutes=15)


def lock_duration(failures: int) -> timedelta | None:
    """Return how long so many consecutive failures lock a name, or None."""
    if failures < FAILURES or failures % FAILURES:
        return None
    doubled: timedelta = LOCK * 2 ** min(failures // FAILURES - 1, 10)
    return min(doubled, LONGEST_LOCK)


def count_attempt(
    identity: str, user_id: int | None, client: Client, browser: str | None = None
) -> datetime | None:
    """Count an attempt before its password is checked; return the end of a lockout, or None.

    Counting first bounds the guesses that reach the password, however many are made at
    once. Success resets the counter (:func:`reset`).

    :param browser: the browser or session that the account knows; None for a stranger.
    """
    now = clock.now()
    with bookkeeping() as session:
        if browser is None and (until := _network_block_end(session, client.network, now)):
            logins.add(session, "blocked", identity, user_id, client)
            return until
        until = _count(session, identity, user_id, browser, now)
        if until is not None:
            logins.add(session, "locked", identity, user_id, client)
        elif user_id is None:
            logins.add(session, "unknown", identity, None, client)
        return until


def _network_block_end(session: so.Session, network: str, now: datetime) -> datetime | None:
    newest = (
        sa.select(Login.at)
        .where(Login.network == network, Login.at > now - WINDOW, Login.outcome.in_(logins.FAILED))
        .order_by(Login.at.desc())
        .limit(FAILURES_OF_NETWORK)
    )
    failed = session.scalars(newest).all()
    return failed[-1] + WINDOW if len(failed) == FAILURES_OF_NETWORK else None


def _count(
    session: so.Session, identity: str, user_id: int | None, browser: str | None, now: datetime
) -> datetime | None:
    key = _key(identity, browser)
    locks.queue_up(session.connection(), f"login {key}")
    if user_id is not None:  # Before its counters, as an operator who unlocks it does.
        _lock(session, user_id)
    row = session.get(LoginFailures, key)
    if row is None:
        row = LoginFailures(key=key, user_id=user_id, browser=browser, count=0, failed_at=now)
        session.add(row)
    row.user_id = user_id  # An account may have taken or lost this name.
    if row.locked_until and row.locked_until > now:
        return row.locked_until
    lasts = row.failed_at >= now - logins.FORGOTTEN_AFTER
    row.count = row.count + 1 if lasts else 1
    lock = lock_duration(row.count)
    row.failed_at, row.locked_until = now, now + lock if lock else None
    return None


def _key(identity: str, browser: str | None) -> str:
    return chain.fingerprint(audit_key(), f"{addresses.canonical(identity)}\n{browser or ''}")


def take_over(session: so.Session, names: Iterable[tuple[int, str | None]]) -> None:
    """Let accounts have the failures that were counted before these names were theirs.

    :param names: the id of each account with its new name; a name may be None.
    """
    if session.scalar(sa.select(LoginFailures.key).limit(1)) is None:
        return  # An import has a million names, each of which takes a fingerprint.
    owners = {_key(name, None): user_id for user_id, name in names if name}
    counted = sa.select(LoginFailures.key).where(among(LoginFailures.key, list(owners)))
    for key in session.scalars(counted).all():
        row = sa.update(LoginFailures).where(LoginFailures.key == key)
        session.execute(row.values(user_id=owners[key]))


def reset(user_id: int, browser: str | None = None) -> None:
    """Reset the counters of strangers, or of this browser: its password was right."""
    with bookkeeping() as session:
        reset_in(session, user_id, browser)


def reset_in(session: so.Session, user_id: int, browser: str | None) -> None:
    """Reset these counters, in a transaction that is open."""
    _lock(session, user_id)
    own = (LoginFailures.user_id == user_id, LoginFailures.browser == browser)
    remove(session, LoginFailures, *own)


def forget(user: User, unit: Unit) -> None:
    """Lift every lockout of an account, and reset its counters."""
    _lock(unit.session, user.id)
    remove(unit.session, LoginFailures, LoginFailures.user_id == user.id)
    unit.session.expire(user, ["failed_logins", "locked_until"])


def _lock(session: so.Session, user_id: int) -> None:
    """Lock an account, whose counters would otherwise be locked in any order."""
    session.execute(sa.select(User.id).where(User.id == user_id).with_for_update())
