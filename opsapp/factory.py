"""create_app, which assembles the application."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .errors import NotReady
from .state import ACCOUNTS, CORE, EXTENSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from .unit.invariants import Administration


_lean: ContextVar[bool] = ContextVar("lean", default=False)


READ_ONCE = ("SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_BINDS", "SQLALCHEMY_ENGINE_OPTIONS")


@dataclass(frozen=True, slots=True)
class Core:
    """The state that an application was made with."""

    database: dict[str, object]
    """Its settings of the database, which Flask-SQLAlchemy reads once."""
    has_web: bool
    branches: tuple[str, ...] = (CORE, ACCOUNTS)

    @property
    def administration(self) -> Administration:
        """The administrators among its accounts, which are ours."""
        from .unit.invariants import OurAdministration

        return OurAdministration()

    def check(self, app: Flask) -> None:
        """Return if the settings of the database are still those that it was made with.

        :raises NotReady: one was set afterwards, and would be ignored.
        """
        for name, value in self.database.items():
            if app.config.get(name) != value:
                raise NotReady(
                    f"{name} was set after opsapp.create_app(), which has opened another database",
                    hint=f"opsapp.create_app({{{name!r}: …}})",
                )


@contextmanager
def without_web() -> Iterator[None]:
    """Create applications without pages and API in this context; commands start faster."""
    token = _lean.set(True)
    try:
        yield
    finally:
        _lean.reset(token)


def has_web() -> bool:
    """Return whether applications created now have pages and the API."""
    return not _lean.get()


@contextmanager
def _lines_for_gunicorn() -> Iterator[None]:
    """Let gunicorn print an error of the configuration as it is, and not its traceback."""
    try:
        yield
    except NotReady as error:
        gunicorn = sys.modules.get("gunicorn.errors")
        if gunicorn is None:
            raise
        hint = f"\n  → {error.hint}" if error.hint else ""
        raise gunicorn.AppImportError(f"Error: {error}{hint}") from error


@_lines_for_gunicorn()
def create_app(settings: Mapping[str, Any] | None = None, *, import_name: str = "opsapp") -> Flask:
    """Return the application with its configuration, database, mail, pages and API.

    :param settings: values that override the configuration.
    :param import_name: the package of an application built on opsapp. Its log is printed,
        profiles name its lines, and the shell finds its modules.
    :raises NotReady: the configuration is not usable.
    """
    from flask import Flask

    from . import models as models  # the tables join the metadata
    from . import profiling
    from .engine import connections
    from .extensions import db
    from .settings import config, parse_config
    from .unit import guard

    app = Flask(
        import_name,
        instance_path=str(config.instance_folder()),
        root_path=str(config.ROOT / "opsapp"),
        template_folder="web/templates",
        static_folder="web/static",
    )
    app.config.from_mapping(config.flask_settings())
    app.config.from_mapping(parse_config(settings or {}))
    url = connections.check_url(app.config["SQLALCHEMY_DATABASE_URI"])
    options = app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", connections.options(url))
    binds = app.config.get("SQLALCHEMY_BINDS") or {}
    app.config["SQLALCHEMY_BINDS"] = {**binds, connections.BOOKKEEPING: {**options, "url": url}}
    db.init_app(app)
    core = Core({name: app.config[name] for name in READ_ONCE}, has_web())
    app.extensions[EXTENSION] = core
    app.before_request(partial(core.check, app))
    with app.app_context():
        for bind in (None, connections.BOOKKEEPING):
            connections.prepare(db.engines[bind])
            guard.protect(db.engines[bind])
    _connect(app)
    if has_web():
        from . import web

        web.init_app(app)
    # Last, so that it stands around everything else.
    profiling.init_app(app)
    return app


def _connect(app: Flask) -> None:
    """Connect the rooms that answer signals of others."""
    from .audit import personal_data as events
    from .mail import notices
    from .mail import personal_data as messages

    for room in (notices, messages, events):
        room.connect(app)
