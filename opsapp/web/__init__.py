"""The web floor: sign-in, pages, the API, errors. Commands do without it."""

from __future__ import annotations

from flask import Flask

from . import account, api, context, errors, headers, health, limits, metrics
from . import x_profile as looking
from .security import setup as auth


def init_app(app: Flask) -> None:
    """Put the web floor onto the application.

    :raises NotReady: ``OPSAPP_URL`` is needed to serve outside development.
    """
    headers.init_app(app)
    context.init_app(app)
    errors.init_app(app)
    limits.init_app(app)
    auth.init_app(app)
    account.init_app(app)
    health.init_app(app)
    api.init_app(app)
    looking.init_app(app)
    metrics.init_app(app)
