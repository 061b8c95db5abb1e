"""Namespace: the names of the console, each with a line of help and its group."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial, wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from flask import Flask

from .. import clock, signals, state
from ..errors import Refused
from ..extensions import db, undo
from ..models import Role, User
from ..models.application import application_db, application_models
from ..unit.work import Unit
from . import transactions
from .change_log import Writes, in_words
from .pending import Pending
from .sessions import Session
from .transactions import Remains

SERVICES_ATTACHED = ("mail", "audit")
"""The services that an application has whose accounts are not ours."""
SERVICES = {
    "users": ("accounts.users", "accounts: create, update, delete"),
    "signin": (
        "accounts.signin",
        "who may sign in: activate, deactivate, set_password, unlock",
    ),
    "roles": ("accounts.roles", "roles: create, allow, deny, delete"),
    "grants": ("accounts.grants", "who holds which role: grant, revoke, history"),
    "access": ("accounts.access", "who may do what, and why"),
    "tokens": ("accounts.tokens", "API tokens: create, listing, revoke"),
    "sessions": ("accounts.sessions", "browsers that are signed in: listing, end"),
    "logins": ("accounts.logins", "who tried to sign in: listing"),
    "mail": ("mail.outbox", "the outbox: listing"),
    "audit": ("audit.events", "what was done: events, get"),
}
"""The services by their names in the console: the module of each, and its line."""


OF_WEB = {
    name: f"{name} is there after flask shell --web" for name in ("client", "url_for", "routes")
}
"""The names of :mod:`.web_client`, which loads the pages, and the way to them."""
_OF_FLASK = {
    "client": "app.test_client() sends requests",
    "url_for": "flask.url_for works inside of app.test_request_context()",
    "routes": "app.url_map has the routes",
}
"""Their likes on an application that is not built on opsapp, whose pages are its own."""
MakeUnit = Callable[[], AbstractContextManager[Unit]]
"""Gives a service a unit; loaded objects stay as they are unless it commits."""
_MARKUP = re.compile(r":[\w:]+:`[~.]*([^`]+)`|``?([^`]+)``?")
"""Roles and literals of reStructuredText in a docstring."""


class Answer(dict[str, Any]):
    """A record of a service, which the prompt shows as a table."""


class Answers(list[Any]):
    """Records of a service, which the prompt shows as a table."""


@dataclass(frozen=True, slots=True)
class Name:
    """One name: its value, a line of help, and its group in the catalogue."""

    name: str
    value: Any
    line: str
    group: str


@dataclass(slots=True)
class Catalogue:
    """Every name, and the names that could not be bound."""

    names: dict[str, Name] = field(default_factory=dict)
    clashes: list[str] = field(default_factory=list)
    """Remarks for the user: a name bound twice, a function of the application that failed."""
    unbound: dict[str, str] = field(default_factory=dict)
    """Names that users look for and are not bound, and the way to what they stand for."""

    def add(self, name: str, value: Any, line: str, group: str) -> None:
        """Bind a name; the second value of a name is a clash."""
        earlier = self.names.get(name)
        if earlier is None:
            self.names[name] = Name(name, value, line, group)
        elif earlier.value is not value:
            self.clashes.append(f"{name} of {group} is not bound: {earlier.group} has that name")

    def groups(self) -> dict[str, list[Name]]:
        """Return the names by group, in their order of arrival."""
        groups: dict[str, list[Name]] = {}
        for name in self.names.values():
            groups.setdefault(name.group, []).append(name)
        return groups

    def namespace(self) -> dict[str, Any]:
        """Return the names with their values, for the console's code."""
        return {name: bound.value for name, bound in self.names.items()}


def catalogue(
    app: Flask, session: Session, writes: Writes, pending: Pending, more: dict[str, Any]
) -> Catalogue:
    """Return every name of this application's console.

    :param more: names of the door, each with its value and line, such as ``sql``.
    """
    names = Catalogue()

    def make_unit() -> AbstractContextManager[Unit]:
        _refuse_uncommitted(session, writes, pending)
        return pending.keep_objects(session.unit())

    for name, value, line in _basics(app):
        names.add(name, value, line, "Application")
    is_built_on = state.is_built_on(app)
    for name, (module, line) in SERVICES.items():
        if is_built_on or name in SERVICES_ATTACHED:
            names.add(name, Verbs(f"opsapp.{module}", make_unit), line, "Services")
    people = _accounts(make_unit) if is_built_on else _accounts_of(state.attachment_of(app))
    for name, value, line in people:
        names.add(name, value, line, "Shortcuts")
    for name, value, line in _shortcuts(session, writes, pending):
        names.add(name, value, line, "Shortcuts")
    for name, (value, line) in more.items():
        names.add(name, value, line, "Shortcuts")
    names.unbound = OF_WEB if is_built_on else _OF_FLASK
    for name, model in _models():
        names.add(name, model, describe(model), "Models")
    _add_from_application(app, names, make_unit)
    return names


def _basics(app: Flask) -> Iterator[tuple[str, Any, str]]:
    yield "app", app, "the Flask application, with its context"
    yield "db", application_db(), "the database: db.session, db.engine"
    yield "sa", sa, "SQLAlchemy: sa.select(User).where(User.active)"


def _refuse_uncommitted(session: Session, writes: Writes, pending: Pending) -> None:
    """Refuse a service that would roll back the uncommitted changes of the user.

    :raises Refused: there are some.
    """
    remains = Remains(in_words(writes.uncommitted_changes(flushed=False)), pending.count())
    if remains:
        raise Refused(
            f"a service needs its own transaction, and there are uncommitted changes:"
            f" {remains.describe_changes()}",
            hint=f"{session.mode.way_out} first",
        )


def _accounts(make_unit: MakeUnit) -> Iterator[tuple[str, Any, str]]:
    """Yield the shortcuts to accounts and roles of ours."""
    from ..accounts import lookup, users

    def account(reference: str | int) -> Any:
        """Return the account with this id, e-mail address or username, unless it is deleted."""
        return lookup.get_user(str(reference))

    def create_user(username: str, email: str, **more: Any) -> Any:
        """Create an account without a password, as ``flask users create --no-password`` does."""
        with make_unit() as unit:
            record = users.create(email, username=username, unit=unit, **more)
        return lookup.get_user(str(record["id"]))

    yield "U", account, 'an account: U("ada@example.com"), U("ada"), U(1)'
    yield "R", lookup.get_role, 'a role: R("admin")'
    yield "create_user", create_user, 'create_user("ada", "ada@example.com")'


def _accounts_of(attached: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the shortcut to an application's own accounts, if their model is known."""
    if attached.identity is None:
        return

    def account(reference: str | int) -> Any:
        """Return the account with this key, e-mail address or username; None if there is none."""
        return attached.identity.find(db.session(), str(reference))

    yield "U", account, 'an account: U("ada@example.com"), U("ada"), U(1)'


def _shortcuts(
    session: Session, writes: Writes, pending: Pending
) -> Iterator[tuple[str, Any, str]]:
    def commit() -> dict[str, str]:
        """Commit the changes of ``db.session`` with an audit event; return them by table."""
        return Answer(_commit(session, writes, pending))

    def rollback() -> int:
        """Undo the uncommitted changes of ``db.session``; return how many objects they were."""
        return transactions.forget(pending)

    yield "commit", commit, "write the changes of db.session, with an audit event"
    yield "rollback", rollback, "forget the changes of db.session"
    yield "now", clock.now, "the present moment, aware, in UTC"


def _commit(session: Session, writes: Writes, pending: Pending) -> dict[str, str]:
    unit = session.unit(adopt=True)
    snapshot = pending.keep()
    try:
        db.session.flush()
        changes = in_words(writes.changes_to_commit())  # The gate, a lock, would count as well.
        with unit:
            if changes:
                unit.record("console:changes:commit", session.reference, after=changes)
    except BaseException:
        if not unit.committed:  # The objects wait, so that the user can correct them.
            undo(db.session())
            pending.restore(snapshot)
        raise
    return changes


def _models() -> Iterator[tuple[str, type]]:
    """Yield every mapped class by its name; the second of a name gets its module's in front."""
    names: set[str] = set()
    for model in application_models():
        name = model.__name__
        if name in names:
            name = f"{model.__module__.replace('.', '_')}_{name}"
        names.add(name)
        yield name, model


def describe(value: Any) -> str:
    """Return the first sentence of the documentation of ``value``."""
    if isinstance(value, type):
        own = value.__dict__.get("__doc__") or f"table {getattr(value, '__tablename__', '')}"
    else:
        own = inspect.getdoc(value) if callable(value) or inspect.ismodule(value) else None
        own = own or type(value).__name__
    first = " ".join(str(own).strip().split("\n\n")[0].split())
    first = _MARKUP.sub(lambda match: match[1] or match[2], first)
    return first.partition(". ")[0].removesuffix(".")


def _add_from_application(app: Flask, catalogue: Catalogue, make_unit: MakeUnit) -> None:
    """Add the names of the application, by ``shell_context_processor`` and by the signal."""
    for processor in app.shell_context_processors:
        who = getattr(processor, "__name__", str(processor))
        _add_names(catalogue, f"{processor.__module__}.{who}", processor, make_unit)
    for receiver in signals.shell_names.receivers_for(app):
        who = f"{receiver.__module__}.{getattr(receiver, '__name__', receiver)}"
        _add_names(catalogue, who, partial(receiver, app), make_unit)


def _add_names(
    catalogue: Catalogue, who: str, give: Callable[[], Any], make_unit: MakeUnit
) -> None:
    try:
        names = dict(give() or {})
    except Exception as error:  # noqa: BLE001  (an application's fault must not close the console)
        catalogue.clashes.append(f"{who} gave no names: {type(error).__name__}: {error}")
        return
    for name, value in names.items():
        is_pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str)
        value, line = value if is_pair else (value, describe(value))
        if _has_verbs(value):
            value = Verbs(value.__name__, make_unit)
        catalogue.add(str(name), value, line, f"From {who}")


def _has_verbs(value: Any) -> bool:
    """Return whether it is a module of services: its functions take a ``unit``."""
    return inspect.ismodule(value) and any(map(_takes_unit, _functions(value).values()))


def _functions(module: ModuleType) -> dict[str, Any]:
    """Return the functions that a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }


def _takes_unit(value: Any) -> bool:
    return inspect.isfunction(value) and "unit" in inspect.signature(value).parameters


def _name_of(value: Any) -> Any:
    """Return an account, a role or a number as the text by which services name it."""
    match value:
        case User():
            return str(value.id)
        case Role():
            return value.name
        case int() if not isinstance(value, bool):
            return str(value)
        case list() | tuple():
            return [_name_of(item) for item in value]
    return value


def _bind_arguments(
    verb: Callable[..., Any], args: Any, keywords: dict[str, Any]
) -> inspect.BoundArguments:
    """Return the arguments of a call, with a text wherever the verb takes one."""
    signature = inspect.signature(verb)
    bound = signature.bind(*args, **keywords)
    for name, value in bound.arguments.items():
        if "str" in str(signature.parameters[name].annotation):
            bound.arguments[name] = _name_of(value)
    return bound


def _answer(answer: Any) -> Any:
    """Return the answer of a service; a stream as a list, since the user reads it again."""
    match answer:
        case dict():
            return Answer(answer)
        case list() | Iterator():
            rows = list(answer)
            return Answers(rows) if all(isinstance(row, dict) for row in rows) else rows
    return answer


class Verbs:
    """A service whose functions need no ``unit``: each call gets one of the session's own.

    :param path: the name of the module, which is imported on demand.
    """

    def __init__(self, path: str, make_unit: MakeUnit) -> None:
        self._path = path
        self._name = path.rpartition(".")[2]
        self._make_unit = make_unit

    @property
    def _module(self) -> Any:
        return import_module(self._path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self._module, name)
        return self._wrap(value) if inspect.isfunction(value) else value

    def _wrap(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(verb)
        def call(*args: Any, **keywords: Any) -> Any:
            if not _takes_unit(verb) or "unit" in keywords:
                return answer(*args, **keywords)
            with self._make_unit() as unit:
                return answer(*args, **keywords, unit=unit)

        def answer(*args: Any, **keywords: Any) -> Any:
            bound = _bind_arguments(verb, args, keywords)
            return _answer(verb(*bound.args, **bound.kwargs))

        signature = inspect.signature(verb)
        call.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[
                parameter for parameter in signature.parameters.values() if parameter.name != "unit"
            ]
        )
        return call

    def __dir__(self) -> list[str]:
        return sorted(name for name in _functions(self._module) if not name.startswith("_"))

    def __repr__(self) -> str:
        return f"{self._name}: {', '.join(dir(self))}"
