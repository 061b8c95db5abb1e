"""Sessions: the session and the engines of an application, however it keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa
    from flask import Flask
    from sqlalchemy import orm as so


class Sessions:
    """The session and the engines of an application, however it keeps them.

    :param db: its Flask-SQLAlchemy; None if it has a session only.
    :param engines: without ``db``, the engine of the session, under None.
    """

    def __init__(
        self,
        session: so.scoped_session[Any],
        db: Any = None,
        engines: MutableMapping[str | None, sa.Engine] | None = None,
    ) -> None:
        self.session = session
        self.db = db
        self._engines = engines

    @property
    def engines(self) -> MutableMapping[str | None, sa.Engine]:
        """The engines by their binds: the dictionary that they are looked up in."""
        engines: MutableMapping[str | None, sa.Engine] = (
            self.db.engines if self._engines is None else self._engines
        )
        return engines

    @contextmanager
    def bind_to(self, replacements: Mapping[str | None, sa.Engine]) -> Iterator[None]:
        """Let the session use engines of ours."""
        self.session.remove()
        with exchange_engines(self.engines, replacements):
            if self.db is None:
                self.session.configure(bind=self.engines[None])
            try:
                yield
            finally:
                self.session.remove()
        if self.db is None:
            self.session.configure(bind=self.engines[None])


def sessions_of(app: Flask, db: Any = None) -> Sessions | None:
    """Return the session and the engines of Flask-SQLAlchemy; None if the application has none.

    :param db: by default the one that is bound to the application.
    """
    db = db if db is not None else app.extensions.get("sqlalchemy")
    # Its engines are there in a context only; other extensions call theirs `sqlalchemy` too.
    is_known = hasattr(type(db), "engines") and hasattr(db.session, "registry")
    if not is_known:
        return None
    return Sessions(db.session, db)


def is_in_memory(engine: sa.Engine) -> bool:
    """Return whether the database is gone with its connection, as that of many tests is."""
    url = engine.url
    return url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    )


@contextmanager
def exchange_engines(
    engines: MutableMapping[str | None, sa.Engine], replacements: Mapping[str | None, sa.Engine]
) -> Iterator[None]:
    """Put engines of ours in the place of an application's; those that it had come back at the end.

    :param engines: the dictionary that Flask-SQLAlchemy looks engines up in.
    """
    before = {bind: engines[bind] for bind in replacements}
    for engine in before.values():
        engine.dispose()  # The application may have looked something up while it was loaded.
    engines.update(replacements)
    try:
        yield
    finally:
        for engine in replacements.values():
            engine.dispose()
        engines.update(before)
