"""Commits that an application's functions ask for, inside of a unit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import orm as so

from ..errors import OpsError


@contextmanager
def hold_commits(session: so.Session) -> Iterator[None]:
    """Let the unit alone end its transaction, and its changes be kept with their event.

    Methods such as ``user.save()`` and ``user.delete()`` commit by themselves. Here that writes
    to the transaction, which a dry run undoes as well.

    :raises OpsError: they roll back, which leaves nothing to go on with.
    """
    if "commit" in vars(session):
        yield  # A change inside of another one.
        return

    def rollback() -> None:
        type(session).rollback(session)
        raise OpsError("the application's code rolled the change back")

    session.commit = session.flush  # type: ignore[method-assign]
    session.rollback = rollback  # type: ignore[method-assign]
    try:
        yield
    finally:
        del session.commit, session.rollback
