"""The state of an application that opsapp is attached to."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OpsError
from ..state import CORE, EXTENSION, attachment_of
from .sessions import Sessions, is_in_memory

if TYPE_CHECKING:
    import sqlalchemy as sa
    from flask import Flask
    from sqlalchemy import orm as so

    from .administrators import Administration
    from .directory import Directory
    from .separate_database import SeparateDatabase

log = logging.getLogger(__name__)

INSTANCE = "OPSAPP_INSTANCE"


def attach(
    app: Flask, sessions: Sessions, parts: Mapping[str, Any], *, is_in_code: bool = True
) -> Attached:
    """Attach opsapp to an application.

    :param parts: what its code says of its users.
    :raises RuntimeError: it is built on opsapp, or opsapp is attached to it already.
    """
    if EXTENSION in app.extensions:
        raise RuntimeError("opsapp is attached to this application already, or it is built on it")
    attached = app.extensions[EXTENSION] = Attached(app, sessions, parts, is_in_code)
    return attached


class Attached:
    """An application with its own users and its own database.

    :param is_in_code: whether the application's code has an ``Ops``; if not, ``flask ops`` has
        attached itself for its own process.
    """

    branches = (CORE,)

    def __init__(
        self, app: Flask, sessions: Sessions, parts: Mapping[str, Any], is_in_code: bool
    ) -> None:
        self.app = app
        self.sessions = sessions
        self.parts = parts
        self.is_in_code = is_in_code
        self._begun_with = self._done_with = 0
        """The models that were there when it began to observe, and when it had begun."""
        self._beginning = threading.RLock()
        self._is_observed = False

    @property
    def db(self) -> Any:
        """The application's Flask-SQLAlchemy; None if it has a session only."""
        return self.sessions.db

    @property
    def session(self) -> so.scoped_session[Any]:
        """The application's own session."""
        return self.sessions.session

    @property
    def engines(self) -> Mapping[str | None, sa.Engine]:
        """The application's engines, and the one for what is ours alone."""
        from ..engine.connections import BOOKKEEPING

        return {**self.sessions.engines, BOOKKEEPING: self.own or self._bookkeeping}

    @property
    def ours(self) -> so.scoped_session[Any]:
        """The session for our tables."""
        return self.session if self.own is None else self._ours

    @property
    def our_engine(self) -> sa.Engine:
        """The engine of the database that has our tables."""
        return self.own or self.sessions.engines[None]

    @cached_property
    def own(self) -> sa.Engine | None:
        """The engine of a database that has our tables and no accounts; None where one has both.

        :raises NotReady: opsapp cannot use its URL.
        """
        from .engines import is_replaceable, like
        from .separate_database import find_engine

        engine = self.sessions.engines[None]
        if self.is_in_tests:
            return None
        own = find_engine(self.app, engine)
        if own is None and self._has_accounts_elsewhere and is_replaceable(engine):
            return like(engine, self._options())
        return own

    @property
    def _has_accounts_elsewhere(self) -> bool:
        """True if the accounts have a bind key, and with it another database."""
        engines = self.sessions.engines
        if len(engines) == 1:
            return False
        import sqlalchemy as sa

        from .separate_database import is_one

        try:
            identity = self.identity
        except OpsError:
            return False  # A wrong argument is told by what needs the identity.
        if identity is None:
            del self.identity  # The models may come later.
            return False
        key = sa.inspect(identity.model).local_table.metadata.info.get("bind_key")
        return not is_one(engines[None].url, engines.get(key, engines[None]).url)

    @cached_property
    def _ours(self) -> so.scoped_session[Any]:
        from flask.globals import app_ctx
        from sqlalchemy import orm as so

        make = so.sessionmaker(self.own, expire_on_commit=False)
        return so.scoped_session(make, lambda: id(app_ctx._get_current_object()))  # type: ignore[attr-defined]  # noqa: SLF001  (Flask documents this name)

    @cached_property
    def separate_database(self) -> SeparateDatabase | None:
        """Its accounts, as a unit asks for them; None where our tables are in its database."""
        from .separate_database import SeparateDatabase

        engines = list(self.sessions.engines.values())
        return None if self.own is None else SeparateDatabase(self.identity, engines)

    @cached_property
    def _bookkeeping(self) -> sa.Engine:
        from .engines import has_creator, is_replaceable, like

        engine = self.sessions.engines[None]
        if self.is_in_tests or not is_replaceable(engine) or has_creator(engine):
            return engine
        return like(engine, self._options())

    @property
    def instance(self) -> Path:
        """The folder of this application for our files; it need not exist yet."""
        folder = self.app.config.get(INSTANCE) or os.environ.get(INSTANCE)
        return Path(folder or Path(self.app.instance_path) / "ops")

    @property
    def is_in_tests(self) -> bool:
        """True in a test of the application, which is to notice nothing of opsapp."""
        return bool(self.app.testing) or is_in_memory(self.sessions.engines[None])

    @cached_property
    def has_tables(self) -> bool:
        """True if ``flask ops init`` was run: before that nothing is audited."""
        import sqlalchemy as sa

        from ..errors import NotReady
        from ..models import AuditHead

        try:
            return sa.inspect(self.our_engine).has_table(AuditHead.__tablename__)
        except NotReady:
            return False  # There is no SQLite file yet.

    def check_place(self) -> None:
        """Return if our tables can be where they are to be.

        :raises NotReady: it is a database of another kind than SQLite and PostgreSQL.
        """
        from .separate_database import refuse_kind

        refuse_kind(self.our_engine)

    def look_again(self) -> bool:
        """Return whether ``flask ops init`` was run meanwhile, as in a server that goes on."""
        self.__dict__.pop("has_tables", None)
        return self.has_tables

    @property
    def has_tables_by_now(self) -> bool:
        """True if ``flask ops init`` was run, also after this process has looked."""
        return self.has_tables or self.look_again()

    @property
    def journal_mode(self) -> str | None:
        """The mode of a SQLite file with our tables; only in ``wal`` readers and writers go on."""
        import sqlalchemy as sa

        engine = self.our_engine
        if engine.dialect.name != "sqlite":
            return None
        with engine.connect() as connection:
            return str(connection.scalar(sa.text("PRAGMA journal_mode")))

    @cached_property
    def identity(self) -> Any:
        """The application's users, roles and passwords; None where no model of them is known."""
        from .discovery import discover

        return discover(self.app, self.models, self.parts)

    @property
    def administration(self) -> Administration:
        """The administrators among its accounts."""
        from .administrators import Administration

        return Administration(self.identity)

    @property
    def directory(self) -> Directory:
        """The accounts that events of the audit are about."""
        from .directory import Directory

        return Directory(self.identity)

    @property
    def models(self) -> list[type]:
        """Return the application's models: those of Flask-SQLAlchemy, and beside its accounts.

        Flask-AppBuilder's models have a base of their own.
        """
        from .attributes import beside
        from .discovery import accounts_of

        bases = (getattr(self.db, "Model", None), *accounts_of(self.app, self.parts))
        return list(dict.fromkeys(model for base in bases for model in beside(base)))

    # --- a server ------------------------------------------------------------

    def follow(self) -> None:
        """Look after the application from now on: its migrations, and what its code changes."""
        from flask import appcontext_pushed

        from . import autogenerate
        from .requests import Door

        autogenerate.hook(self.app)
        self.app.wsgi_app = Door(self.app, self.is_recordable, self.app.wsgi_app)  # type: ignore[method-assign]
        self.app.teardown_appcontext(self._end)
        # Flask-Migrate may come later, and the models do.
        appcontext_pushed.connect(_begin, self.app)

    def _end(self, _error: BaseException | None) -> None:
        if (registry := self.__dict__.get("_ours")) is not None:
            registry.remove()

    def begin(self) -> None:
        """Do what waits for the application to be complete: its first context is pushed."""
        from . import autogenerate

        autogenerate.hook(self.app)
        count = len(self.models)
        if count != self._done_with and not self.is_in_tests:
            with self._beginning:  # The first requests come at once: each is to be observed.
                self._begin(count)

    def _begin(self, count: int) -> None:
        if count == self._begun_with:
            return
        self._begun_with = count  # A factory may push a context before it has imported all.
        if not self._is_observed:
            self._observe()
        self._done_with = count

    def _observe(self) -> None:
        """Audit from now on what the application's own code changes of its accounts.

        An argument of ``Ops`` that is wrong is told in the log, and by every command of ours:
        it must not take the application down.
        """
        from .listeners import observe

        try:
            identity, is_apart = self.identity, self.own is not None
        except OpsError as error:
            log.warning("changes of accounts are not audited: %s", error.message)
            return
        if identity is None:
            del self.identity
            self.__dict__.pop("own", None)
            return
        self._is_observed = True
        observe(
            self.app,
            identity,
            self.administration.has_administrator,
            actor=self.parts.get("actor"),
            strict=self.parts.get("observe") == "strict",
            keep_admin=self.parts.get("keep_admin", "warn"),
            protect=self.parts.get("protect", ()),
            is_apart=is_apart,
        )

    # --- a command -----------------------------------------------------------

    @contextmanager
    def as_command(self) -> Iterator[None]:
        """Have engines of ours in the place of the application's, as long as a command runs.

        :raises NotReady: the database is not there, or cannot be used by them.
        """
        from . import engines

        engines.check_file(self.sessions.engines[None])
        own_engines = {
            bind: engines.like(engine, self._options(bind))
            for bind, engine in self.sessions.engines.items()
            if engines.is_replaceable(engine)
        }
        self._forget()
        try:
            with self.sessions.bind_to(own_engines):
                self._record()
                yield
        finally:
            self._forget()

    def is_recordable(self) -> bool:
        """Return whether timings have a place to be written to, as of now."""
        if self.is_in_tests:
            return False
        from sqlalchemy.exc import DBAPIError

        try:
            return self.look_again()
        except DBAPIError:
            return False  # A database of our own is away, which is nothing to a request.

    def _record(self) -> None:
        """Record the statements of a command for ``flask ops profile``."""
        from .. import profiling, settings

        if not settings.get("OPSAPP_PROFILING") or not self.is_recordable():
            return
        recorder = profiling.recorder_of(self.app)
        if recorder is None:
            profiling.listen(self.app)
        else:
            recorder.listen(self.engines[None])

    def _forget(self) -> None:
        """Forget what was looked up through other engines."""
        if (separate := self.__dict__.pop("separate_database", None)) is not None:
            separate.leave()
        for name in ("has_tables", "_ours"):
            self.__dict__.pop(name, None)
        for name in ("_bookkeeping", "own"):
            if (engine := self.__dict__.pop(name, None)) is not None:
                engine.dispose()

    def _options(self, bind: str | None = None) -> Mapping[str, Any] | None:
        """Return the options of ``create_engine`` that the application has set.

        None where it has made its engine itself, so that nothing tells them.
        """
        if self.db is None:
            return None
        common = getattr(self.db, "_engine_options", None) or {}
        own = (self.app.config.get("SQLALCHEMY_BINDS") or {}).get(bind)
        if bind is None:
            own = {**(own or {}), **(self.app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {})}
        return {**common, **(own if isinstance(own, dict) else {})}


def _begin(app: Flask) -> None:
    attachment_of(app).begin()
