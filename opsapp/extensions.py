"""The Flask extensions, not yet bound to an application."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm as so
from sqlalchemy.exc import DBAPIError

from . import state
from .errors import NotReady, Refused


class Base(so.DeclarativeBase):
    """The base of every model: constraints have names, so migrations can drop them."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Database(SQLAlchemy):
    """Flask-SQLAlchemy, whose request ends well although its connection has died.

    In an application that opsapp is attached to, it gives that application's session and engines.
    """

    @property  # type: ignore[override]
    def session(self) -> so.scoped_session[so.Session]:
        """The session of this context."""
        attached = this_attachment()
        return self._session if attached is None else attached.session

    @session.setter
    def session(self, session: so.scoped_session[so.Session]) -> None:
        self._session = session

    @property
    def engines(self) -> Mapping[str | None, sa.Engine]:
        """The engines by their binds; None is that of requests."""
        attached = this_attachment()
        return super().engines if attached is None else attached.engines

    @property
    def ours(self) -> so.scoped_session[so.Session]:
        """The session for the tables of opsapp: another one where they have a database alone."""
        attached = this_attachment()
        return self._session if attached is None else attached.ours

    @property
    def is_all_ours(self) -> bool:
        """True if the database of :attr:`ours` is not one that an application made."""
        attached = this_attachment()
        return attached is None or attached.own is not None

    def beside(self, session: so.Session) -> so.Session:
        """Return the session for the tables of opsapp that goes with one of the application's."""
        attached = this_attachment()
        return session if attached is None or attached.own is None else attached.ours()

    @property
    def our_engine(self) -> sa.Engine:
        """The engine of the database that has the tables of opsapp."""
        attached = this_attachment()
        return self.engine if attached is None else attached.our_engine

    def create_all(self, bind_key: str | list[str | None] | None = "__all__") -> None:
        """Create the tables of models that have no migration.

        :raises NotReady: the database is not initialised; tables made now lack the audit log.
        :raises Refused: opsapp is attached, and the tables are not the application's.
        """
        _refuse_attached("create_all", "init")
        if not _has_audit(self.our_engine):
            raise NotReady(
                "the database is not initialised, and db.create_all() makes no audit log",
                hint="flask db init; in tests the fixture ops_app",
            )
        super().create_all(bind_key)

    def drop_all(self, bind_key: str | list[str | None] | None = "__all__") -> None:
        """Drop the tables of every model, where that drops no audit.

        :raises Refused: the database has an audit, or opsapp is attached to the application.
        """
        _refuse_attached("drop_all", "drop")
        if _has_audit(self.our_engine):
            raise Refused(
                "db.drop_all() would drop the audit log",
                hint="drop the database itself; in tests the fixture ops_app makes one for each",
            )
        super().drop_all(bind_key)

    def _teardown_session(self, exc: BaseException | None) -> None:
        end_session()


# A committed object stays readable: services shape their answer from it.
_SESSION = {"expire_on_commit": False}

if TYPE_CHECKING:
    db = Database(model_class=Base, session_options=_SESSION)
    Model = Base
elif "disable_autonaming" in signature(SQLAlchemy.__init__).parameters:
    db = Database(model_class=Base, session_options=_SESSION)
    Model = db.Model
else:
    # Flask-SQLAlchemy before 3.1, of applications that opsapp is attached to, takes no such base.
    db = Database(metadata=Base.metadata, session_options=_SESSION)
    Model = Base


def _has_audit(engine: sa.Engine) -> bool:
    try:
        return sa.inspect(engine).has_table("ops_audit_head")
    except NotReady:
        return False


def _refuse_attached(verb: str, command: str) -> None:
    if this_attachment() is not None:
        raise Refused(
            f"db.{verb}() of opsapp is not for the tables of this application",
            hint=f"{verb}() of the application's own db; flask ops {command} for those of opsapp",
        )


def this_attachment() -> Any:
    """Return the ``Attached`` of this context, which has another's session and engines."""
    return state.attachment_of(current_app) if current_app else None


def undo(session: so.Session) -> None:
    """Roll back; where the connection has died, the server has done so already."""
    try:
        session.rollback()
    except DBAPIError:
        session.invalidate()


def begin_anew(session: so.Session) -> None:
    """Roll back, and read again what is used; a commit keeps rows as they were."""
    undo(session)
    session.expire_all()


def end_session() -> None:
    """End the sessions of this context, and undo what they have not committed."""
    for session in dict.fromkeys((db.session, db.ours)):
        if session.registry.has():
            _close(session())
        session.remove()


def _close(session: so.Session) -> None:
    """Close a session, which rolls back; as :func:`undo` where the connection has died."""
    try:
        session.close()
    except DBAPIError:
        session.invalidate()


def this_app() -> Flask:
    """Return the application itself, where a proxy of it will not do."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  (Flask documents this name)
    return app
