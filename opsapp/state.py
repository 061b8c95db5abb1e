"""The state that opsapp keeps in ``app.extensions`` of an application."""

from __future__ import annotations

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


def attached_to(app: Flask) -> Any:
    """Return the ``ops.Attached`` of an application; None where it has none."""
    state = app.extensions.get(EXTENSION)
    return state if state is not None and ACCOUNTS not in state.branches else None
