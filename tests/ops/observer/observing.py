"""An application of its own, observed, on a database that has the tables of opsapp."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm as so

from opsapp.ops.listeners import observe
from opsapp.ops.observer import Observer
from opsapp.ops.roles import Rule
from opsapp.ops.seal import Sealer
from opsapp.unit import chain
from tests.support import Database

KEY = b"a key of the tests"


@dataclass
class People:
    """The accounts of an application, as its identity tells them."""

    model: type[Any]
    watched_names: Collection[str]
    secret: Collection[str] = ()
    personal: Collection[str] = ()
    admin: Any = None
    is_opaque: bool = False
    roles: Sequence[Rule] = ()

    def subject_of(self, key: Any) -> str:
        return f"user:~{chain.personal_token(KEY, '', key)}" if self.is_opaque else f"user:{key}"

    def name_record(self, user: Any) -> dict[str, Any] | None:
        if not self.is_opaque:
            return None
        (key,) = sa.inspect(type(user)).primary_key_from_instance(user)
        token = chain.personal_token(KEY, "", key)
        return {"token": token, "subject": f"user:~{token}", "salt": "", "value": key}

    def has_administrator(self, session: so.Session) -> bool | None:
        if self.admin is None:
            return None
        query = sa.select(sa.literal(1)).select_from(self.model).where(self.admin)
        return session.scalar(query.limit(1)) is not None


def relation_people() -> People:
    from tests.apps.relation_app import Role, User

    return People(
        User,
        {"email", "username", "password", "active", "roles", "groups"},
        secret={"password"},
        personal={"email", "username"},
        admin=sa.and_(User.active.is_(True), User.roles.any(Role.name == "Admin")),
    )


def flag_people() -> People:
    from tests.apps.flag_app import User

    return People(
        User,
        {"email", "password", "enabled", "global_admin"},
        secret={"password"},
        personal={"email"},
        admin=sa.and_(User.enabled.is_(True), User.global_admin.is_(True)),
        is_opaque=True,
    )


@dataclass
class Theirs:
    """An application that is observed, inside of its context."""

    app: Flask
    db: Any
    observer: Observer
    database: Database
    notices: list[bool] = field(default_factory=list)
    """For each commit that was told to the sealer, whether an administrator may be gone."""

    @property
    def session(self) -> Any:
        return self.db.session

    def seal(self) -> bool:
        """Do what the thread would."""
        return self.observer.sealer.work()

    def waiting(self) -> list[tuple[Any, ...]]:
        """The action, the subject and both sides of what waits."""
        return self.database.rows(
            "SELECT action, subject, before, after FROM ops_audit_pending ORDER BY id"
        )


@contextmanager
def observed(
    app: Flask, db: Any, people: People, database: Database, ours: Flask, **options: Any
) -> Iterator[Theirs]:
    """Observe an application; the sealer works when it is told to, in the context of ``ours``."""
    with app.app_context():
        db.create_all()
        observer = observe(app, people, people.has_administrator, **options)
        theirs = Theirs(app, db, observer, database)
        observer.sealer = _Quiet(ours, people, theirs.notices)
        yield theirs
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()


class _Quiet(Sealer):
    """A sealer without its thread."""

    def __init__(self, app: Flask, people: People, notices: list[bool]) -> None:
        super().__init__(app, people.has_administrator)
        self._notices = notices
        self._app = weakref.ref(app)

    def notify(self, *, look: bool = False) -> None:
        self._notices.append(look)
        self._must_look |= look
