"""Log-in attempts and lock-outs.

An attempt is counted before the password is checked. Ten failures lock the account for
15 minutes, and each further ten twice as long. Names without an account are counted and
locked alike, so a lock-out does not reveal which accounts exist.

docs/decisions/web.md#a-try-is-counted-before-the-password-is-checked
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import takewhile
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import addresses, clock, text
from ..engine import locks
from ..engine.rows import remove
from ..errors import Invalid
from ..extensions import db
from ..models import Login, User, UserSession
from ..types import Record
from ..unit import chain
from ..unit.ledger import audit_key
from ..unit.work import Unit, bookkeeping
from .lookup import get_user_ever

FAILURES = 10
"""Consecutive failures that lock an account."""
LOCK = timedelta(minutes=15)
LONGEST_LOCK = timedelta(hours=4)
FORGOTTEN_AFTER = timedelta(hours=24)
"""The longest pause between two consecutive failures."""
MOST_FAILURES = 10_000
"""The most failures that are counted for a name without an account."""
FAILURES_OF_NETWORK = 30
WINDOW = timedelta(minutes=15)

OUTCOMES = (
    "success",
    "password",  # It was wrong.
    "unknown",  # No account has this name.
    "code",  # The second factor was wrong.
    "inactive",
    "unconfirmed",
    "locked",  # Too many failures of this account; the password was not checked.
    "blocked",  # Too many failures from this address; the password was not checked.
)
_FAILED = ("password", "unknown", "code")


@dataclass(frozen=True, slots=True)
class Client:
    """The browser that an attempt comes from."""

    ip: str | None
    user_agent: str | None

    @property
    def network(self) -> str:
        """The network whose failures are counted together: of IPv6 the /64 of one customer.

        All clients without an address count as one network.
        """
        try:
            address = ip_address(self.ip or "")
        except ValueError:
            return "unknown"
        mapped = getattr(address, "ipv4_mapped", None) or address
        return str(mapped if mapped.version == 4 else ip_network((mapped, 64), strict=False))


def fingerprint(identity: str) -> str:
    """Return a keyed fingerprint of a typed name, which may be a mistyped password."""
    return chain.fingerprint(audit_key(), addresses.canonical(identity))


# --- lock-outs ---------------------------------------------------------------


def locked_for(failures: int) -> timedelta | None:
    """Return how long so many consecutive failures lock an account, or None."""
    if failures < FAILURES or failures % FAILURES:
        return None
    doubled: timedelta = LOCK * 2 ** min(failures // FAILURES - 1, 10)
    return min(doubled, LONGEST_LOCK)


def count_attempt(identity: str, user_id: int | None, client: Client) -> datetime | None:
    """Count an attempt before its password is checked; return the end of a lock-out, or None.

    Counting first bounds the guesses that reach the password, however many are made at
    once. Success resets the counter (:func:`reset_failures`).
    """
    now = clock.now()
    with bookkeeping() as session:
        if until := _blocked_network(session, client.network, now):
            _add(session, "blocked", identity, user_id, client)
            return until
        if user_id is None:
            until = _count_unknown(session, identity, client, now)
        else:
            until = _count_known(session, user_id, now)
        if until is not None:
            _add(session, "locked", identity, user_id, client)
        return until


def _blocked_network(session: so.Session, network: str, now: datetime) -> datetime | None:
    newest = (
        sa.select(Login.at)
        .where(Login.network == network, Login.at > now - WINDOW, Login.outcome.in_(_FAILED))
        .order_by(Login.at.desc())
        .limit(FAILURES_OF_NETWORK)
    )
    failed = session.scalars(newest).all()
    return failed[-1] + WINDOW if len(failed) == FAILURES_OF_NETWORK else None


def _count_known(session: so.Session, user_id: int, now: datetime) -> datetime | None:
    columns = (User.failed_logins, User.failed_at, User.locked_until)
    failures, failed_at, locked = session.execute(
        sa.select(*columns).where(User.id == user_id).with_for_update()
    ).one()
    if locked and locked > now:
        return locked
    forgotten = failed_at is None or failed_at < now - FORGOTTEN_AFTER
    failures = 1 if forgotten else failures + 1
    lock = locked_for(failures)
    _set(
        session,
        user_id,
        failed_logins=failures,
        failed_at=now,
        locked_until=now + lock if lock else None,
    )
    return None


def _count_unknown(
    session: so.Session, identity: str, client: Client, now: datetime
) -> datetime | None:
    """Count an attempt for a name without an account, from its stored attempts."""
    name = fingerprint(identity)
    locks.queue_up(session.connection(), f"log-in {name}")
    attempts = session.scalars(
        sa.select(Login.at)
        .where(Login.identity == name, Login.outcome == "unknown")
        .order_by(Login.id.desc())
        .limit(MOST_FAILURES)
    ).all()
    lock = locked_for(_count_consecutive(attempts, now))
    if lock and attempts[0] + lock > now:
        return attempts[0] + lock
    _add(session, "unknown", identity, None, client)
    return None


def _count_consecutive(attempts: Sequence[datetime], now: datetime) -> int:
    """Count the newest of these attempts, up to the first pause that is too long."""
    pauses = (next_ - at for at, next_ in zip(attempts, [now, *attempts], strict=False))
    return sum(1 for _ in takewhile(lambda pause: pause <= FORGOTTEN_AFTER, pauses))


def _set(session: so.Session, user_id: int, **columns: Any) -> None:
    # Not a change of the account: its updated_at stays.
    session.execute(
        sa.update(User).where(User.id == user_id).values(updated_at=User.updated_at, **columns)
    )


def reset_failures(user_id: int) -> None:
    """Reset the counter of failures: the password was right."""
    with bookkeeping() as session:
        _set(session, user_id, failed_logins=0, failed_at=None, locked_until=None)


def failed(outcome: str, identity: str, user_id: int | None, client: Client) -> None:
    """Store an attempt that failed.

    :param outcome: one of :data:`OUTCOMES`.
    """
    with bookkeeping() as session:
        _add(session, outcome, identity, user_id, client)


def add_success(session: so.Session, user: User, client: Client) -> None:
    """Store a log-in, in the transaction that opens its session."""
    now = clock.now()
    _add(session, "success", user.email or "", user.id, client)
    _set(
        session,
        user.id,
        failed_logins=0,
        failed_at=None,
        locked_until=None,
        last_login_at=User.current_login_at,
        last_login_ip=User.current_login_ip,
        current_login_at=now,
        current_login_ip=client.ip,
        login_count=User.login_count + 1,
        idle_since=now,
    )


def _add(
    session: so.Session, outcome: str, identity: str, user_id: int | None, client: Client
) -> None:
    session.add(
        Login(
            user_id=user_id,
            identity=fingerprint(identity),
            outcome=outcome,
            ip=client.ip,
            network=client.network,
            user_agent=client.user_agent,
        )
    )


def note_activity(session: so.Session, user_id: int, now: datetime) -> None:
    """Store that an account is in use; before its session or token, as a deletion locks."""
    _set(session, user_id, idle_since=now)


def use_code(user_id: int, counter: int) -> bool:
    """Mark the code of this time step as used; return whether it was unused."""
    unused = sa.or_(User.tf_last_counter.is_(None), User.tf_last_counter < counter)
    with bookkeeping() as session:
        result: Any = session.execute(
            sa.update(User)
            .where(User.id == user_id, unused)
            .values(tf_last_counter=counter, updated_at=User.updated_at)
        )
        return bool(result.rowcount)


# --- reading and pruning -----------------------------------------------------


def listing(
    user: str | None = None,
    *,
    outcome: str | None = None,
    since: datetime | None = None,
    limit: int | None = 50,
) -> list[Record]:
    """Return the newest attempts, of an account or of all.

    :raises Invalid: there is no such outcome.
    :raises NotFound: there never was such an account.
    """
    if outcome is not None and outcome not in OUTCOMES:
        raise Invalid(f"outcome {text.shortened(outcome)} is none of {', '.join(OUTCOMES)}")
    query = sa.select(Login, User.email).outerjoin(User, User.id == Login.user_id)
    if user is not None:
        query = query.where(Login.user_id == get_user_ever(user).id)
    if outcome is not None:
        query = query.where(Login.outcome == outcome)
    if since is not None:
        query = query.where(Login.at >= since)
    rows = db.session.execute(query.order_by(Login.id.desc()).limit(limit))
    return [
        {
            "id": login.id,
            "at": login.at,
            "user_id": login.user_id,
            "user": email,
            "outcome": login.outcome,
            "ip": login.ip,
            "user_agent": login.user_agent,
        }
        for login, email in rows
    ]


def prune(*, older_than: timedelta, unit: Unit) -> Record:
    """Remove attempts, and sessions that have ended, older than this."""
    before = clock.now() - older_than
    with unit:
        ended = (UserSession.opened_at < before, _is_over(before))
        counts = {
            "logins": remove(unit.session, Login, Login.at < before),
            "sessions": remove(unit.session, UserSession, *ended),
        }
        if any(counts.values()):
            unit.record("user:logins:prune", "users", after=counts)
        return counts


def _is_over(before: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(UserSession.ended_at < before, UserSession.expires_at < before)
