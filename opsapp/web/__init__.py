"""The web part: login, pages, API, health, metrics. Commands do not need it.

============  =================================================
security      Flask-Security with our datastore, forms and sessions
api           the API and its OpenAPI document
account       the page of a user's own account
actor         the actor and the unit of work of a request
debugger      no debugger outside development
headers       request ids, host names, security headers
limits        rate limits
errors        error answers: JSON or a page
security_log  refused requests, in the log
context       variables of every template
health        ``/healthz`` and ``/readyz``
metrics       ``/metrics``
user_agent    the browser's name
x_profile     profiles on request, by the header ``X-Profile``
============  =================================================

Decisions: docs/decisions/web.md
"""

from __future__ import annotations

from flask import Flask

from . import account, api, context, errors, headers, health, limits, metrics, x_profile
from .actor import signed_in_user, unit_of_self
from .api.access import needs
from .context import add_to_navigation
from .security import setup

__all__ = ["add_to_navigation", "init_app", "needs", "signed_in_user", "unit_of_self"]


def init_app(app: Flask) -> None:
    """Add the web part to the application.

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
