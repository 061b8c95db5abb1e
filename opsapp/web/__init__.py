"""The web floor: sign-in, pages, the API, errors. Commands do without it."""

from __future__ import annotations

from flask import Flask

from . import account, api, context, errors, headers, health, limits, metrics, x_profile
from .actor import unit_of_self
from .api.access import needs
from .security import setup

__all__ = ["init_app", "needs", "unit_of_self"]


def init_app(app: Flask) -> None:
    """Put the web floor onto the application.

    :raises NotReady: ``OPSAPP_URL`` is needed to serve outside development.
    """
    headers.init_app(app)
    context.init_app(app)
    errors.init_app(app)
    limits.init_app(app)
    setup.init_app(app)
    account.init_app(app)
    health.init_app(app)
    api.init_app(app)
    x_profile.init_app(app)
    metrics.init_app(app)
