"""Log-ins: what was tried, what it led to, and the brake on guessing.

Whatever is typed is counted before a password is looked at: ten failures lock
the account for a quarter of an hour, and every further ten for twice as long.
What nobody is called is counted and locked alike, so a lock-out does not tell
which accounts there are.
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
"""So many in a row lock an account."""
LOCK = timedelta(minutes=15)
LONGEST_LOCK = timedelta(hours=4)
FORGOTTEN_AFTER = timedelta(hours=24)
"""Failures are counted together while no longer than this lies between them."""
LONGEST_ROW = 10_000
"""So many failures in a row are counted of a name that nobody has."""
FAILURES_OF_NETWORK = 30
WINDOW = timedelta(minutes=15)

OUTCOMES = {
    "success": "signed in",
    "password": "the password was wrong",
    "unknown": "nobody is called that",
    "code": "the second factor was wrong",
    "inactive": "the account is deactivated",
    "unconfirmed": "the address is not confirmed",
    "locked": "too many failures of this account before; nothing was looked at",
    "blocked": "too many failures from this address before; nothing was looked at",
}
_FAILED = ("password", "unknown", "code")


@dataclass(frozen=True, slots=True)
class Client:
    """Where somebody signs in from."""

    ip: str | None
    user_agent: str | None

    @property
    def network(self) -> str | None:
        """What is counted together: of IPv6 the /64, which one customer has all of."""
        try:
            address = ip_address(self.ip or "")
        except ValueError:
            return self.ip
        mapped = getattr(address, "ipv4_mapped", None) or address
        return str(mapped if mapped.version == 4 else ip_network((mapped, 64), strict=False))


def fingerprint(identity: str) -> str:
    """A keyed fingerprint of what was typed as a name; it may be a password."""
    return chain.fingerprint(audit_key(), addresses.canonical(identity))


# --- the brake ---------------------------------------------------------------


def locked_for(failures: int) -> timedelta | None:
    """How long so many failures in a row lock an account; None is not at all."""
    if failures < FAILURES or failures % FAILURES:
        return None
    doubled: timedelta = LOCK * 2 ** min(failures // FAILURES - 1, 10)
    return min(doubled, LONGEST_LOCK)


def take_turn(identity: str, user_id: int | None, client: Client) -> datetime | None:
    """Count a try before it is looked at; None, or until when nobody may try.

    Counting first bounds the guesses that reach the password, however many are
    made at once. Success gives the turns back (:func:`forgive`).
    """
    now = clock.now()
    with bookkeeping() as session:
        if until := _blocked_network(session, client.network, now):
            _add(session, "blocked", identity, user_id, client)
            return until
        if user_id is None:
            until = _turn_of_nobody(session, identity, client, now)
        else:
            until = _turn_of_account(session, user_id, now)
        if until is not None:
            _add(session, "locked", identity, user_id, client)
        return until


def _blocked_network(session: so.Session, network: str | None, now: datetime) -> datetime | None:
    newest = (
        sa.select(Login.at)
        .where(Login.network == network, Login.at > now - WINDOW, Login.outcome.in_(_FAILED))
        .order_by(Login.at.desc())
        .limit(FAILURES_OF_NETWORK)
    )
    failed = session.scalars(newest).all() if network else []
    return failed[-1] + WINDOW if len(failed) == FAILURES_OF_NETWORK else None


def _turn_of_account(session: so.Session, user_id: int, now: datetime) -> datetime | None:
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


def _turn_of_nobody(
    session: so.Session, identity: str, client: Client, now: datetime
) -> datetime | None:
    """The same for a name without an account, whose row is its failed log-ins."""
    name = fingerprint(identity)
    locks.queue_up(session.connection(), f"log-in {name}")
    tries = session.scalars(
        sa.select(Login.at)
        .where(Login.identity == name, Login.outcome == "unknown")
        .order_by(Login.id.desc())
        .limit(LONGEST_ROW)
    ).all()
    lock = locked_for(_in_a_row(tries, now))
    if lock and tries[0] + lock > now:
        return tries[0] + lock
    _add(session, "unknown", identity, None, client)
    return None


def _in_a_row(tries: Sequence[datetime], now: datetime) -> int:
    """How many of these, the newest first, have no longer pause after them than is counted."""
    after = [now, *tries]
    pairs = zip(tries, after, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[1] - pair[0] <= FORGOTTEN_AFTER, pairs))


def _set(session: so.Session, user_id: int, **columns: Any) -> None:
    # Not a change of the account: its updated_at stays.
    session.execute(
        sa.update(User).where(User.id == user_id).values(updated_at=User.updated_at, **columns)
    )


def forgive(user_id: int) -> None:
    """Give back the turns that were taken: the password was right."""
    with bookkeeping() as session:
        _set(session, user_id, failed_logins=0, failed_at=None, locked_until=None)


def failed(outcome: str, identity: str, user_id: int | None, client: Client) -> None:
    """Write down a try that did not get in.

    :param outcome: one of :data:`OUTCOMES`.
    """
    with bookkeeping() as session:
        _add(session, outcome, identity, user_id, client)


def add_success(session: so.Session, user: User, client: Client) -> None:
    """Write down a log-in, in the transaction that opens its session."""
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


def note_sign_of_life(session: so.Session, user_id: int, now: datetime) -> None:
    """Write down that an account is in use; before its session or token, as a deletion locks."""
    _set(session, user_id, idle_since=now)


def use_code(user_id: int, counter: int) -> bool:
    """Whether the code of this time step was not used before; it is from now on."""
    unused = sa.or_(User.tf_last_counter.is_(None), User.tf_last_counter < counter)
    with bookkeeping() as session:
        taken: Any = session.execute(
            sa.update(User)
            .where(User.id == user_id, unused)
            .values(tf_last_counter=counter, updated_at=User.updated_at)
        )
        return bool(taken.rowcount)


# --- reading and pruning -----------------------------------------------------


def listing(
    user: str | None = None,
    *,
    outcome: str | None = None,
    since: datetime | None = None,
    limit: int | None = 50,
) -> list[Record]:
    """The newest tries, of an account or of all.

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
    """Remove log-ins, and sessions that have ended, older than this."""
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
