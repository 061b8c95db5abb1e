"""Listeners: SQLAlchemy's events of an application's models and sessions, when accounts change.

They are few and short, because they are called for what is not watched too. Every session of the
process calls them, since a worker or a thread of the application makes sessions of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import orm as so

from ..extensions import this_app
from . import bulk
from .changes import Accounts, HasAdministrator
from .observer import MARK, Observer
from .seal import Sealer

if TYPE_CHECKING:
    from flask import Flask


def observe(
    app: Flask,
    accounts: Accounts,
    has_administrator: HasAdministrator,
    *,
    actor: Callable[[], Any] | None = None,
    strict: bool = False,
    keep_admin: str = "warn",
    protect: Collection[Any] = (),
    is_apart: bool = False,
) -> Observer:
    """Observe from now on what the application's code changes of its accounts.

    :param actor: returns who a request is; by default the account that Flask-Login has loaded.
    :param strict: let an error of the observer fail the application's flush.
    :param keep_admin: ``warn``: a change that leaves no administrator is followed by an event;
        ``refuse``: it is refused.
    :param protect: attributes that only a unit may change: names, or ``User.global_admin``.
    :param is_apart: whether our tables are in another database than the accounts.
    """
    observer = Observer(
        accounts,
        Sealer(app, has_administrator),
        has_administrator,
        actor=actor,
        strict=strict,
        protected=[name if isinstance(name, str) else name.key for name in protect],
        refuse=keep_admin == "refuse",
        is_apart=is_apart,
    )
    app.extensions[MARK] = observer
    _homeless[accounts.model] = observer
    for name, listener in _OF_MODELS.items():
        _listen(accounts.model, name, listener, propagate=True)
    _listen(so.Session, "do_orm_execute", _on_execute)
    _listen(so.Session, "after_commit", _after_commit)
    if observer.protection.refuses:
        _listen(so.Session, "before_flush", _before_flush)
        _listen(so.Session, "after_flush", _after_flush)
    return observer


def _listen(target: Any, name: str, listener: Callable[..., Any], **options: bool) -> None:
    # Many applications of one process may have one model.
    if not event.contains(target, name, listener):
        event.listen(target, name, listener, **options)


_homeless: WeakKeyDictionary[type[Any], Observer] = WeakKeyDictionary()
"""The observers by model, for sessions that are used outside of an application's context."""


def _present() -> Iterable[Observer]:
    """Return the observer of the application that is running, unless it runs tests.

    Outside of an application's context each may be meant.
    """
    try:
        app = this_app()
    except RuntimeError:
        return list(_homeless.values())
    observer: Observer | None = app.extensions.get(MARK)
    return () if observer is None or app.testing else (observer,)


def _flushing(name: str) -> Callable[..., None]:
    act = getattr(Observer, name)

    def listener(mapper: so.Mapper[Any], connection: sa.Connection, user: Any) -> None:
        for observer in _present():
            if isinstance(user, observer.accounts.model):
                act(observer, connection, user)

    return listener


def _after_update(_mapper: object, connection: sa.Connection, user: Any) -> None:
    observer, *noted = sa.inspect(user).info.pop(MARK, (None,))
    if observer is not None:
        observer.after_update(connection, user, *noted)


_OF_MODELS = {
    name: _flushing(name)
    for name in ("before_update", "before_insert", "after_insert", "before_delete")
}
_OF_MODELS["after_update"] = _after_update


def _on_execute(state: so.ORMExecuteState) -> Any:
    if state.is_select:
        return None
    results = (bulk.execute_and_record(observer, state) for observer in _present())
    return next((result for result in results if result is not None), None)


def _before_flush(session: so.Session, *_rest: object) -> None:
    for observer in _present():
        observer.protection.before_flush(session)


def _after_flush(session: so.Session, _context: object) -> None:
    for observer in _present():
        observer.protection.after_loss(session)


def _after_commit(session: so.Session) -> None:
    # A savepoint's release comes here too, and commits nothing.
    if session.in_nested_transaction():
        return
    observer, is_lasting = session.info.pop(MARK, (None, False))
    if observer is not None:
        observer.sealer.notify(look=is_lasting)
