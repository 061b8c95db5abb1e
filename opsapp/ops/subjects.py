"""Subjects: how the audit log names an application's accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import orm as so

from .. import state, text
from ..errors import Conflict, NotReady
from ..extensions import this_app
from ..types import Fields
from ..unit.work import Unit
from . import acceptance, limit
from .commits import hold_commits
from .identity import Identity


def this_identity() -> Identity:
    """Return the identity of the current application.

    :raises Conflict: no model of accounts is found.
    """
    attached = state.attachment_of(this_app())
    if attached is None:
        raise NotReady("opsapp is not attached to this application", hint="Ops(app, db)")
    identity: Identity | None = attached.identity
    if identity is None:
        raise Conflict(
            "no class of this application is known to hold its accounts",
            hint="Ops(app, db, user=SomeClass)",
        )
    return identity


@contextmanager
def changing(unit: Unit, *needs: str) -> Iterator[Identity]:
    """Enter the unit to change accounts, and have the audit say by which identity.

    :param needs: the parts of the identity that the change uses.
    :raises Conflict: one of them is missing.
    :raises TimedOut: a listener of the application held the gate for too long.
    """
    identity = this_identity()
    for part in needs:
        identity.need(part)
    with limit.limit_time(unit.session), unit, hold_commits(unit.session):
        yield identity
        if unit.changed:
            acceptance.record(identity, unit)


def accounts(identity: Identity, session: so.Session, references: Iterable[str]) -> list[Any]:
    """Return the accounts in the order named, each once.

    :raises NotFound: one is unknown.
    """
    users = (identity.get(session, name) for name in text.each(references))
    return list(dict.fromkeys(users))


def record(
    unit: Unit,
    identity: Identity,
    user: Any,
    action: str,
    *,
    before: Fields | None = None,
    after: Fields | None = None,
) -> None:
    """Record a change of an account, and keep beside the chain whom an opaque subject names."""
    row = identity.name_record(user)
    if row is not None:
        unit.name(row)
    unit.record(action, identity.subject(user), before=before, after=after)
