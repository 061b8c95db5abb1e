"""Login attempts: stored, listed and pruned. :mod:`lockouts` counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import addresses, clock, text
from ..engine.rows import remove
from ..errors import Invalid
from ..extensions import db
from ..models import Login, LoginFailures, User, UserSession
from ..types import Record
from ..unit import chain
from ..unit.ledger import audit_key
from ..unit.work import Unit, bookkeeping
from .lookup import get_user_ever

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
FORGOTTEN_AFTER = timedelta(hours=24)
"""The longest pause between two consecutive failures."""
FAILED = ("password", "unknown", "code")
"""The outcomes that count as guesses."""


def canonical_ip(value: str) -> str:
    """Return an address as it is stored: one of IPv4 is the same in its form of IPv6.

    :raises ValueError: it is none.
    """
    address = ip_address(value)
    return str(getattr(address, "ipv4_mapped", None) or address)


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


# --- attempts ----------------------------------------------------------------


def store_failure(outcome: str, identity: str, user_id: int | None, client: Client) -> None:
    """Store an attempt that failed.

    :param outcome: one of :data:`OUTCOMES`.
    """
    with bookkeeping() as session:
        add(session, outcome, identity, user_id, client)


def add_success(session: so.Session, user: User, client: Client) -> None:
    """Store a login, in the transaction that opens its session."""
    add(session, "success", user.email or "", user.id, client)
    now = clock.now()
    count = User.login_count + 1
    update_quietly(session, user.id, login_count=count, last_login_at=now, idle_since=now)


def add(
    session: so.Session, outcome: str, identity: str, user_id: int | None, client: Client
) -> None:
    """Store an attempt."""
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


def update_quietly(session: so.Session, user_id: int, **columns: Any) -> None:
    """Set columns that are no change of the account: its ``updated_at`` stays."""
    session.execute(
        sa.update(User).where(User.id == user_id).values(updated_at=User.updated_at, **columns)
    )


def note_activity(session: so.Session, user_id: int, now: datetime) -> None:
    """Store that an account is in use; before its session or token, as a deletion locks."""
    update_quietly(session, user_id, idle_since=now)


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
    outcome: str | Iterable[str] = (),
    address: str | None = None,
    since: datetime | None = None,
    after: int | None = None,
    limit: int | None = 50,
) -> list[Record]:
    """Return the newest attempts, of an account or of all.

    :param outcome: one of :data:`OUTCOMES` or several; none is all.
    :param address: an IP address; of IPv6 also its /64, which is counted together.
    :param after: only attempts with a larger id.
    :raises Invalid: there is no such outcome, or that is not an address.
    :raises NotFound: there never was such an account.
    """
    query = sa.select(Login, User.email).outerjoin(User, User.id == Login.user_id)
    if user is not None:
        query = query.where(Login.user_id == get_user_ever(user).id)
    if outcomes := [_validate_outcome(name) for name in text.each(outcome)]:
        query = query.where(Login.outcome.in_(outcomes))
    if address is not None:
        query = query.where(_from(address))
    if since is not None:
        query = query.where(Login.at >= since)
    if after is not None:
        query = query.where(Login.id > after)
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


def _validate_outcome(name: str) -> str:
    if name not in OUTCOMES:
        raise Invalid(f"outcome {text.truncate(name)} is not one of {', '.join(OUTCOMES)}")
    return name


def _from(address: str) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt comes from this address or /64 of IPv6.

    :raises Invalid: it is neither.
    """
    try:
        network = ip_network(address, strict=False)
    except ValueError as error:
        raise Invalid(f"{text.truncate(address)} is not an IP address") from error
    if network.num_addresses == 1:
        return Login.ip == canonical_ip(str(network.network_address))
    if network.version == 4 or network.prefixlen != 64:
        raise Invalid(f"{text.truncate(address)} is not one address, nor a /64 of IPv6")
    return Login.network == str(network)


def follow(*, poll: Callable[[], None], **criteria: Any) -> Iterator[Record]:
    """Yield the newest attempts, the oldest of them first, and then those that come, forever.

    :param poll: waits for a moment, between two looks.
    :param criteria: those of :func:`listing`.
    """
    last = max((row["id"] for row in listing(limit=1)), default=0)
    rows = listing(**criteria)
    while True:
        yield from reversed(rows)
        last = max([last, *(row["id"] for row in rows)])
        poll()
        db.session.rollback()  # It would see what was there when it began.
        rows = listing(**{**criteria, "after": last, "limit": None})


def prune(*, older_than: timedelta, unit: Unit) -> Record:
    """Remove attempts, and sessions that have ended, older than this."""
    before = clock.now() - older_than
    with unit:
        conditions = (UserSession.opened_at < before, _is_over(before))
        counts = {
            "logins": remove(unit.session, Login, Login.at < before),
            "sessions": remove(unit.session, UserSession, *conditions),
        }
        if any(counts.values()):
            over = min(before, clock.now() - FORGOTTEN_AFTER)
            remove(unit.session, LoginFailures, LoginFailures.failed_at < over)
            unit.record("user:logins:prune", "users", after=counts)
        return counts


def _is_over(before: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(UserSession.ended_at < before, UserSession.expires_at < before)
