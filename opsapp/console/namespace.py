"""The names of the console: what there is, a line for each, and who brought it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from flask import Flask

from .. import clock, signals
from ..extensions import Model, db
from ..models import Role, User
from ..unit.work import Unit
from . import transactions
from .change_log import Writes, told
from .sessions import Session

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


@dataclass(frozen=True, slots=True)
class Name:
    """One name: its value, what it is, and the group of the catalogue it stands in."""

    name: str
    value: Any
    line: str
    group: str


@dataclass(slots=True)
class Catalogue:
    """Every name, and what could not be bound."""

    names: dict[str, Name] = field(default_factory=dict)
    clashes: list[str] = field(default_factory=list)
    """What somebody should know: a name that two wanted, somebody who failed to give any."""

    def add(self, name: str, value: Any, line: str, group: str) -> None:
        """Bind a name; whoever comes second to it is told."""
        there = self.names.get(name)
        if there is None:
            self.names[name] = Name(name, value, line, group)
        elif there.value is not value:
            self.clashes.append(f"{name} of {group} is not bound: {there.group} has that name")

    def groups(self) -> dict[str, list[Name]]:
        """The names by group, in the order they came."""
        found: dict[str, list[Name]] = {}
        for one in self.names.values():
            found.setdefault(one.group, []).append(one)
        return found

    def namespace(self) -> dict[str, Any]:
        """What the console's code sees."""
        return {name: one.value for name, one in self.names.items()}


def catalogue(app: Flask, session: Session, writes: Writes, more: dict[str, Any]) -> Catalogue:
    """Every name of this application's console.

    :param more: names of the door: their value and line, such as ``sql``.
    """
    found = Catalogue()
    for name, value, line in _basics(app):
        found.add(name, value, line, "Application")
    for name, (module, line) in SERVICES.items():
        found.add(name, Verbs(f"opsapp.{module}", session.unit), line, "Services")
    for name, value, line in _short_hands(session, writes):
        found.add(name, value, line, "Short hands")
    for name, (value, line) in more.items():
        found.add(name, value, line, "Short hands")
    for name, model in _models():
        found.add(name, model, described(model), "Models")
    _add_from_application(app, found, session.unit)
    return found


def _basics(app: Flask) -> Iterator[tuple[str, Any, str]]:
    yield "app", app, "the Flask application, with its context"
    yield "db", db, "the database: db.session, db.engine"
    yield "sa", sa, "SQLAlchemy: sa.select(User).where(User.active)"


def _short_hands(session: Session, writes: Writes) -> Iterator[tuple[str, Any, str]]:
    from ..accounts import lookup, users

    def account(reference: str | int) -> Any:
        """The account with this id, e-mail address or username; it is not deleted."""
        return lookup.get_user(str(reference))

    def create_user(username: str, email: str, **more: Any) -> Any:
        """A new account without a password, as ``flask users create --no-password`` makes one."""
        made = users.create(email, username=username, unit=session.unit(), **more)
        return lookup.get_user(str(made["id"]))

    def commit() -> dict[str, str]:
        """Write what ``db.session`` holds, with its audit event; what was written, by table."""
        unit = session.unit(adopt=True)
        db.session.flush()
        done = told(writes.uncommitted())  # Before the gate, which is a lock that counts.
        with unit:
            if done:
                unit.record("console:changes:commit", session.reference, after=done)
        return done

    def rollback() -> int:
        """Forget what ``db.session`` holds; how many objects were changed."""
        return transactions.forget(db.session())

    yield "U", account, 'an account: U("ada@example.com"), U("ada"), U(1)'
    yield "R", lookup.get_role, 'a role: R("admin")'
    yield "create_user", create_user, 'create_user("ada", "ada@example.com")'
    yield "commit", commit, "write what db.session holds, with an audit event"
    yield "rollback", rollback, "forget what db.session holds"
    yield "now", clock.now, "the present moment, aware, in UTC"


def _models() -> Iterator[tuple[str, type]]:
    """Every mapped class by its name; of two with one name the later gets its module's in front."""
    seen: dict[str, type] = {}
    mapped = [mapper.class_ for mapper in Model.registry.mappers]
    for model in sorted(mapped, key=lambda one: (one.__module__, one.__name__)):
        name = model.__name__
        if name in seen:
            name = f"{model.__module__.replace('.', '_')}_{name}"
        seen[name] = model
        yield name, model


def described(value: Any) -> str:
    """The first sentence of what ``value`` says of itself."""
    if isinstance(value, type):
        own = value.__dict__.get("__doc__") or f"table {getattr(value, '__tablename__', '')}"
    else:
        own = inspect.getdoc(value) if callable(value) or inspect.ismodule(value) else None
        own = own or type(value).__name__
    first = " ".join(str(own).strip().split("\n\n")[0].split())
    return first.partition(". ")[0].removesuffix(".")


def _add_from_application(app: Flask, found: Catalogue, make_unit: Callable[[], Unit]) -> None:
    """What the application adds by ``shell_context_processor`` and by the signal."""
    for processor in app.shell_context_processors:
        who = getattr(processor, "__name__", str(processor))
        _add_given(found, f"{processor.__module__}.{who}", processor, make_unit)
    for receiver in signals.shell_names.receivers_for(app):
        who = f"{receiver.__module__}.{getattr(receiver, '__name__', receiver)}"
        _add_given(found, who, partial(receiver, app), make_unit)


def _add_given(
    found: Catalogue, who: str, give: Callable[[], Any], make_unit: Callable[[], Unit]
) -> None:
    try:
        given = dict(give() or {})
    except Exception as error:  # noqa: BLE001  (an application's fault must not close the console)
        found.clashes.append(f"{who} gave no names: {type(error).__name__}: {error}")
        return
    for name, value in given.items():
        is_pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str)
        value, line = value if is_pair else (value, described(value))
        if _has_verbs(value):
            value = Verbs(value.__name__, make_unit)
        found.add(str(name), value, line, f"From {who}")


def _has_verbs(value: Any) -> bool:
    """Whether it is a module of services, as ours are: its functions take a ``unit``."""
    return inspect.ismodule(value) and any(map(_takes_unit, _functions(value).values()))


def _functions(module: ModuleType) -> dict[str, Any]:
    """The functions that a module has of its own."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }


def _takes_unit(value: Any) -> bool:
    return inspect.isfunction(value) and "unit" in inspect.signature(value).parameters


def _named(value: Any) -> Any:
    """An account, a role or a number as services name it: by a text."""
    match value:
        case User():
            return str(value.id)
        case Role():
            return value.name
        case int() if not isinstance(value, bool):
            return str(value)
        case list() | tuple():
            return [_named(one) for one in value]
    return value


def _bound(verb: Callable[..., Any], args: Any, given: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments of a call, with a text wherever the verb takes one."""
    shown = inspect.signature(verb)
    bound = shown.bind(*args, **given)
    for name, value in bound.arguments.items():
        if "str" in str(shown.parameters[name].annotation):
            bound.arguments[name] = _named(value)
    return bound


class Verbs:
    """A service whose functions need no ``unit``: each call gets one of the session's own.

    :param path: the module's, which is imported when it is needed.
    """

    def __init__(self, path: str, make_unit: Callable[[], Unit]) -> None:
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
        return self._called(value) if inspect.isfunction(value) else value

    def _called(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(verb)
        def call(*args: Any, **given: Any) -> Any:
            if _takes_unit(verb):
                given.setdefault("unit", self._make_unit())
            bound = _bound(verb, args, given)
            answer = verb(*bound.args, **bound.kwargs)
            # What streams for a pipe is a list for a person, who looks at it more than once.
            return list(answer) if isinstance(answer, Iterator) else answer

        shown = inspect.signature(verb)
        call.__signature__ = shown.replace(  # type: ignore[attr-defined]
            parameters=[one for one in shown.parameters.values() if one.name != "unit"]
        )
        return call

    def __dir__(self) -> list[str]:
        return sorted(name for name in _functions(self._module) if not name.startswith("_"))

    def __repr__(self) -> str:
        return f"{self._name}: {', '.join(dir(self))}"
