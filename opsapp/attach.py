"""The Flask extension ``Ops``: attaches opsapp to an application that has its own users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .ops.attached import attach
from .ops.sessions import Sessions, sessions_of

if TYPE_CHECKING:
    import sqlalchemy as sa
    from flask import Flask
    from sqlalchemy import orm as so

    from .unit.work import Unit

PARTS = frozenset(
    {
        *("user", "email", "username", "active", "password", "roles", "admin"),
        *("set_password", "check_password", "end_sessions", "create", "erase"),
        *("created_at", "last_seen_at", "secret", "personal"),
        *("actor", "watch", "observe", "keep_admin", "protect"),
    }
)
"""The arguments that say of an application what cannot be read off its models."""


class Ops:
    """The console of an application: ``flask ops …``.

    >>> ops = Ops()
    >>> def create_app():
    ...     ops.init_app(app, db)  # the last line

    ``Ops(app, db)`` does both. docs/attaching.md lists the other arguments; most applications
    need none.

    :param db: its Flask-SQLAlchemy; by default the one that is bound to ``app``.
    :param session: instead of ``db``, its ``scoped_session``.
    :param engine: with ``session``, the engine that it is bound to.
    :param url_prefix: serve health, metrics and profiles there, such as ``/ops``.
    :param allow: with ``url_prefix``; returns True if the present request may see them, and
        may be profiled by ``X-Profile``.
    :param commands: names beside the application's own commands, by those of ``flask ops``:
        ``{"users": "accounts"}`` makes ``flask accounts``.
    :raises TypeError: an argument is unknown, or there is no database.
    """

    def __init__(
        self,
        app: Flask | None = None,
        db: Any = None,
        *,
        session: so.scoped_session[Any] | None = None,
        engine: sa.Engine | None = None,
        url_prefix: str | None = None,
        allow: Callable[[], object] | None = None,
        commands: Mapping[str, str] | None = None,
        **parts: Any,
    ) -> None:
        if unknown := sorted(parts.keys() - PARTS):
            raise TypeError(f"Ops() has no argument {unknown[0]!r}")
        if (url_prefix is None) is not (allow is None):
            raise TypeError("Ops(url_prefix=…) needs allow=…, and it needs url_prefix=…")
        if (session is None) is not (engine is None):
            raise TypeError("Ops(session=…) needs engine=…, and it needs session=…")
        self.db = db
        self.session = session
        self.engine = engine
        self.url_prefix = url_prefix
        self.allow = allow
        self.commands = commands or {}
        self.parts = parts
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, db: Any = None) -> None:
        """Attach to an application; more than one application may have the same ``Ops``.

        :raises TypeError: it has no database that is known.
        :raises RuntimeError: it is built on opsapp, or has an ``Ops`` already.
        """
        attached = attach(app, self._sessions(app, db), self.parts)
        attached.follow()
        if self.commands:
            from .cli.delegation import add_names
            from .entrypoints import ops

            add_names(app, ops, self.commands)
        if self.url_prefix is not None and self.allow is not None:
            from .ops import pages

            pages.serve(app, self.url_prefix, self.allow)

    def _sessions(self, app: Flask, db: Any) -> Sessions:
        if self.session is not None and self.engine is not None:
            return Sessions(self.session, engines={None: self.engine})
        sessions = sessions_of(app, db or self.db)
        if sessions is None:
            raise TypeError("Ops() needs a database: Ops(app, db), or session=… and engine=…")
        return sessions

    def unit(self, *, reason: str | None = None, dry_run: bool = False) -> Unit:
        """Return a unit of work for changes by the application's own code.

        >>> with ops.unit(reason="asked by mail"):
        ...     user.active = False

        It takes the gate, as a command does, and commits at its end. Changes of accounts inside
        are its events; ``unit.record()`` adds others. Enter it before the first change.

        :param reason: kept in the audit log.
        :param dry_run: roll back at the end.
        :raises Busy: another change has held the gate for five seconds; when it is entered.
        :raises Refused: no administrator would be left; at its end.
        :raises NotReady: ``flask ops init`` was not run.
        """
        from .ops import units

        return units.unit(reason=reason, dry_run=dry_run)

    def can(self, user: Any, role: str) -> bool:
        """Return whether an account may act by a role, in a request or another context.

        The account is active and holds the role, whose end, if it has one, has not passed.
        The application's own question hears of an end when ``flask ops roles expire`` has run.

        :param user: an account, or what a request has instead of one.
        """
        from flask import current_app

        from .ops import grants
        from .state import attachment_of

        attached = attachment_of(current_app)
        return grants.can(attached.identity, user, role)
