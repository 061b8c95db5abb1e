"""Error answers: JSON for programs, a page for people, and no internals in either.

========================  ============================================================
OpsError                  its own status, from the table in :mod:`opsapp.errors`
database errors           409, 503 or 504, by their condition
CSRFError                 400, with advice; of a stale page see :mod:`.security.stale`
HTTPException             its own status
anything else             500, logged with the correlation id
========================  ============================================================
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, jsonify, render_template, request
from flask_login import AnonymousUserMixin
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import (
    HTTPException,
    InternalServerError,
    SecurityError,
    default_exceptions,
)

from .. import text
from ..engine.conditions import translate_error
from ..errors import Busy, InDoubt, Invalid, OpsError
from ..extensions import db, undo
from ..redaction import redact_traceback
from . import security_log
from .headers import correlation

RETRY_SECONDS = 5


def init_app(app: Flask) -> None:
    """Handle every error."""
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(OpsError, answer_ops)
    app.register_error_handler(SQLAlchemyError, answer_database)
    app.register_error_handler(InternalServerError, answer_unexpected)
    app.log_exception = log_fault  # type: ignore[assignment]
    # The log of `app.logger`, which would add a handler if it was used here.
    log = logging.getLogger(app.name)
    if not any(isinstance(filter_, _WithoutSecrets) for filter_ in log.filters):
        log.addFilter(_WithoutSecrets())


class _WithoutSecrets(logging.Filter):
    """Formatter of tracebacks: redacted here, since an error's message may hold a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redact_traceback(record.exc_info[1])
        return True


def answer_http(error: HTTPException) -> Any:
    """Answer an error of werkzeug, Flask or an extension."""
    if error.response is not None:  # A redirect, or an answer that is complete already.
        return error.response
    data: dict[str, Any] = getattr(error, "data", None) or {}
    messages = data.get("messages")
    message = _summary(messages) if messages else _description(error)
    response = answer(error.code or 500, message, fields=messages, name=error.name)
    for header, value in error.get_headers():
        if header not in ("Content-Type", "Content-Length"):
            response.headers[header] = value
    return response


SENTENCES = {
    400: "The request is malformed.",
    401: "Please sign in first.",
    403: "This account may not do that.",
    404: "There is nothing at this address.",
    405: "This address does not take such a request.",
    413: "The request is too large.",
    415: "The request is of another type than this address takes.",
}
"""Descriptions in place of Werkzeug's; an error of another status has its name only."""


def _description(error: HTTPException) -> str:
    """Return the description, unless it is Werkzeug's own for errors of this status."""
    default = default_exceptions.get(error.code or 500, HTTPException).description
    if error.description and error.description != default:
        return error.description
    return SENTENCES.get(error.code or 500, error.name)


def answer_forged(error: CSRFError) -> Response:
    """Answer a change that lacks the CSRF token of our pages, or its cookie."""
    message = f"{error.description} {_SEND_HEADER}" if wants_json() else _LOAD_AGAIN
    return answer(400, message, name=error.name)


_SEND_HEADER = "Send the header X-CSRFToken, its value is in /api/me; over https also Referer."
_LOAD_AGAIN = (
    "The form came without its token, its cookie or its Referer."
    " Load the page again, let the browser keep its cookies, and repeat what you did."
)


def answer_ops(error: OpsError) -> Response:
    """Answer an error of a service, without its hint, which is for a terminal."""
    if error.http_status < 500:
        return answer(error.http_status, text.sentence(error.message), fields=_fields(error))
    undo(db.session())
    current_app.logger.error("%s %s", correlation(), text.safe(error.message))
    message = _IN_DOUBT if isinstance(error, InDoubt) else _UNAVAILABLE
    response = answer(error.http_status, message)
    if isinstance(error, Busy) and not _has_committed():
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


_NAMES = {"e-mail": "email", "until": "valid_until", "reason": "X-Reason"}
"""The fields of the API that a service calls otherwise."""


def _fields(error: OpsError) -> dict[str, dict[str, list[str]]] | None:
    """Return the error of a service by field, in the form of marshmallow's."""
    if not isinstance(error, Invalid):
        return None
    name = _NAMES.get(error.field, error.field)
    place = "headers" if name.startswith("X-") else "query" if request.method == "GET" else "json"
    return {place: {name: [text.sentence(error.message)]}}


_UNAVAILABLE = "This does not work right now. Please try again in a moment."
_IN_DOUBT = "The change may or may not have been made. Look before you repeat it."


def answer_database(error: SQLAlchemyError) -> Any:
    """Answer an error of the database, by its condition."""
    undo(db.session())
    condition = translate_error(error)
    if condition is None or condition.http_status == 500:
        log_fault(error)
        return answer_unexpected(InternalServerError(original_exception=error))
    return answer_ops(condition)


def log_fault(*args: Any) -> None:
    """Log an unexpected error, once, with the id of its answer.

    :param args: the exception or ``sys.exc_info()`` last; newer Flasks pass a context first.
    """
    fault = args[-1][1] if isinstance(args[-1], tuple) else args[-1]
    if isinstance(fault, OpsError):
        return  # A late condition; its answer explains it.
    subject = f"{request.method} {text.safe(security_log.path())}"
    current_app.logger.error("%s %s failed", correlation(), subject, exc_info=fault)


def answer_unexpected(error: InternalServerError) -> Response:
    """Undo the request and answer an unexpected error, without internals."""
    undo(db.session())
    original = error.original_exception
    # An error after the view, in the last step of a response, arrives here too.
    if isinstance(original, OpsError):
        return answer_ops(original)
    return answer(500, "An unexpected error happened. It was logged.")


def answer(status: int, message: str, *, fields: Any = None, name: str | None = None) -> Response:
    """Return the error as JSON for programs or as a page for people.

    :param fields: the errors of each field, as marshmallow reports them.
    """
    security_log.log_refusal(status, message)
    if status >= 500 and _has_committed():
        message = _DONE
    record = {
        "error": name or _name(status),
        "message": message,
        "status_code": status,
        "correlation": correlation(),
    }
    if status >= 500 and "_login_user" not in g:
        # The page would look up the user; that may be what has just failed.
        g._login_user = AnonymousUserMixin()  # noqa: SLF001  (Flask-Login reads this)
    if wants_json():
        response = jsonify({**record, **({"fields": fields} if fields else {})})
    elif isinstance(request.routing_exception, SecurityError):
        # The host name is malformed, so no page can be rendered with links.
        response = Response(f"{status} {record['error']}\n", mimetype="text/plain")
    else:
        response = Response(
            render_template("error.html", **{**record, "message": text.safe(message)}),
            mimetype="text/html",
        )
    response.status_code = status
    return response


_DONE = "The change was made, and what came after it failed. Look before you repeat it."


def _has_committed() -> bool:
    """Return whether this request committed a change before it failed."""
    return any(unit.committed for unit in g.get("units", ()))


def _name(status: int) -> str:
    return (
        default_exceptions[status]().name
        if status in default_exceptions
        else HTTPStatus(status).phrase
    )


def _summary(messages: Any) -> str:
    """Return marshmallow's messages in a line: ``email: Not a valid string.``"""
    parts = []
    for errors in messages.values():
        items = errors.items() if isinstance(errors, dict) else [("", errors)]
        for field, texts in items:
            first = texts[0] if isinstance(texts, list) else texts
            parts.append(f"{text.truncate(str(field))}: {first}" if field else str(first))
    return " ".join(parts)


def wants_json() -> bool:
    """Return whether the caller is a program: below ``/api/``, or it prefers JSON."""
    if request.path.startswith("/api/") or request.path in ("/healthz", "/readyz"):
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"
