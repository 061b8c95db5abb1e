"""The state that opsapp keeps in ``app.extensions`` of an application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

EXTENSION = "opsapp"
"""Its key: a ``factory.Core`` where the application is built on opsapp, an ``ops.Attached``
where it has its own users and its own database."""
CORE, ACCOUNTS = "core", "accounts"
"""The branches of our tables: those of every application, and those of one that is built on us."""


def is_built_on(app: Flask) -> bool:
    """Return whether the application was made by ``opsapp.create_app()``."""
    return ACCOUNTS in getattr(app.extensions.get(EXTENSION), "branches", ())


def attachment_of(app: Flask) -> Any:
    """Return the ``ops.Attached`` of an application; None where it has none."""
    state = app.extensions.get(EXTENSION)
    return state if state is not None and ACCOUNTS not in state.branches else None


def instance_of(app: Flask) -> Path:
    """Return the folder for our files of an application, which keeps its own beside it."""
    attached = attachment_of(app)
    return Path(app.instance_path if attached is None else attached.instance)


def has_pages(app: Flask) -> bool:
    """Return whether the application was made with our pages and API."""
    return is_built_on(app) and bool(app.extensions[EXTENSION].has_web)


@contextmanager
def hook_requests(app: Flask, before_request: Callable[[], None], **config: Any) -> Iterator[None]:
    """Run a function before each request of an application, under these settings, for a while."""
    settings, functions = dict(app.config), app.before_request_funcs.setdefault(None, [])
    app.config.update(config)
    functions.insert(0, before_request)
    try:
        yield
    finally:
        functions.remove(before_request)
        for name in config:
            del app.config[name]
            if name in settings:
                app.config[name] = settings[name]
