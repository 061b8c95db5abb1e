"""The API: views over the services, their OpenAPI document, and a page that shows it.

=========  ====================================================
users      ``/api/users``
grants     ``/api/users/ID/roles`` and ``/api/users/ID/grants``
roles      ``/api/roles``
me         ``/api/me``
access     the caller's account, and the permission of a view
paging     pages of lists
schemas    requests and answers, as OpenAPI documents them
blueprint  flask-smorest's blueprint with our parser
=========  ====================================================

Decisions: docs/decisions/web.md
"""

from __future__ import annotations

from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls
from flask import Flask, render_template
from flask.json.provider import DefaultJSONProvider
from flask_smorest import Api

from ... import __version__, settings
from ...clock import rfc3339
from ..security.setup import csrf
from . import grants, me, roles, users
from .access import SIGNED_IN
from .schemas import Problem

DESCRIPTION = """\
Accounts and their permissions. A program sends `Authorization: Bearer TOKEN`, with a token of
`flask users tokens create`; a browser sends its session and, to change something, the header
`X-CSRFToken` (its value is in `/api/me`). Each operation names the permission it needs. Times are
RFC 3339 in UTC.

A change may give its reason in the header `X-Reason`, for the audit log. Answers that can be
changed have an `ETag`. Send it back as `If-Match` (or `*`). If another caller was faster, you get
412. No caller can grant a permission that it does not hold, or change an account that may do more.
"""


class RFC3339(DefaultJSONProvider):
    """JSON with times as the commands print them."""

    sort_keys = False

    @staticmethod
    def default(value: Any) -> Any:
        """Return ``2026-12-31T23:59:59Z`` for a time."""
        return rfc3339(value) if hasattr(value, "tzinfo") else DefaultJSONProvider.default(value)


class OpsApi(Api):
    """flask-smorest's Api with our errors."""

    ERROR_SCHEMA = Problem
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """Register none: web/errors.py answers every error, the API's too."""

    def _register_pagination_header(self) -> None:
        """Register none: our lists name their next page in the body."""


def _schema_name(schema: Any) -> str:
    """Return the name of a schema for readers and generated clients: ``User``."""
    return resolve_schema_cls(schema).__name__.removesuffix("Answer")  # type: ignore[union-attr]


def init_app(app: Flask) -> None:
    """Add ``/api/…``, ``/api/openapi.json`` and ``/api/docs``."""
    app.json = RFC3339(app)
    app.config.update(
        API_TITLE=f"{settings.of(app, 'OPSAPP_NAME')} API",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
    )
    cookie = app.config["SESSION_COOKIE_NAME"]
    api = OpsApi(
        app,
        spec_kwargs={
            "marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name),
            "servers": [{"url": settings.of(app, "OPSAPP_URL") or "/"}],
            "info": {"description": DESCRIPTION},
            "components": {
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer"},
                    "session": {"type": "apiKey", "in": "cookie", "name": cookie},
                }
            },
            "security": SIGNED_IN,
        },
    )
    for module in (users, roles, grants, me):
        api.register_blueprint(module.blueprint)
        csrf.exempt(module.blueprint)  # access.py checks it where a session is used.

    @app.get("/api/docs")
    def api_docs() -> str:
        """Show the OpenAPI document as a page."""
        return render_template(
            "api.html", document=api.spec.to_dict(), document_url="/api/openapi.json"
        )
