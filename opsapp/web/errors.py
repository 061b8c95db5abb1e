"""Errors: JSON for programs, a page for people, and no internals for either.

========================  ============================================================
OpsError                  its own status, from the table in :mod:`opsapp.errors`
database errors           what they mean: 409, 503 or 504
CSRFError                 400, with what to do
HTTPException             its own status
anything else             500, logged with the correlation id
========================  ============================================================
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, current_app, g, jsonify, render_template, request
from flask_login import AnonymousUserMixin
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import (
    HTTPException,
    InternalServerError,
    SecurityError,
    UnprocessableEntity,
    default_exceptions,
)

from .. import text
from ..engine.conditions import explained
from ..errors import Busy, OpsError
from ..extensions import db, undo
from ..redaction import redacted_traceback
from .headers import correlation

RETRY_SECONDS = 5


def init_app(app: Flask) -> None:
    """Handle every error."""
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(CSRFError, answer_forged)
    app.register_error_handler(OpsError, answer_ops)
    app.register_error_handler(SQLAlchemyError, answer_database)
    app.register_error_handler(InternalServerError, answer_unexpected)
    app.log_exception = log_fault  # type: ignore[assignment]
    # It is the log of `app.logger`, which would get a handler if it was asked for here.
    log = logging.getLogger(app.name)
    if not any(isinstance(one, _WithoutSecrets) for one in log.filters):
        log.addFilter(_WithoutSecrets())


class _WithoutSecrets(logging.Filter):
    """Writes a fault's traceback before a formatter does: what an error says may be a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redacted_traceback(record.exc_info[1])
        return True


def answer_http(error: HTTPException) -> Any:
    """What werkzeug, Flask and the extensions raise."""
    if error.response is not None:  # A redirect, or an answer that is complete already.
        return error.response
    found: dict[str, Any] = getattr(error, "data", None) or {}
    messages = found.get("messages")
    message = _summary(messages) if messages else error.description or error.name
    response = answer(error.code or 500, message, fields=messages, name=error.name)
    for header, value in error.get_headers():
        if header not in ("Content-Type", "Content-Length"):
            response.headers[header] = value
    return response


def answer_forged(error: CSRFError) -> Response:
    """A change without the token that our pages carry, or without the cookie that goes with it."""
    advice = _SEND_HEADER if wants_json() else _LOAD_AGAIN
    return answer(400, f"{error.description} {advice}", name=error.name)


_SEND_HEADER = "Send the header X-CSRFToken, its value is in /api/me; over https also Referer."
_LOAD_AGAIN = "Load the page again, let the browser keep its cookies, and repeat what you did."


def answer_ops(error: OpsError) -> Response:
    """What the services raise; its hint is for a terminal, and stays here."""
    if error.http_status < 500:
        return answer(error.http_status, error.message)
    undo(db.session())
    current_app.logger.error("%s %s", correlation(), text.safe(error.message))
    response = answer(error.http_status, _UNAVAILABLE)
    if isinstance(error, Busy) and not _has_committed():
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


_UNAVAILABLE = "This does not work right now. Please try again in a moment."


def answer_database(error: SQLAlchemyError) -> Any:
    """What the database says, where it means something to whoever asks."""
    undo(db.session())
    known = explained(error)
    if known is None or known.http_status == 500:
        log_fault(error)
        return answer_unexpected(InternalServerError(original_exception=error))
    return answer_ops(known)


def log_fault(*args: Any) -> None:
    """Write an unexpected error down, once, with the id that its answer has.

    :param args: the exception, or what ``sys.exc_info()`` says, last: Flask hands it over,
        newer ones with its context before it.
    """
    fault = args[-1][1] if isinstance(args[-1], tuple) else args[-1]
    if isinstance(fault, OpsError):
        return  # Known, although it came late; its answer says what there is to say.
    where = f"{request.method} {text.safe(request.path)}"
    current_app.logger.error("%s %s failed", correlation(), where, exc_info=fault)


def answer_unexpected(error: InternalServerError) -> Response:
    """A fault of ours: undone, and told without internals."""
    undo(db.session())
    original = error.original_exception
    # What fails after the view, as the last step of a response, arrives here too.
    if isinstance(original, OpsError):
        return answer_ops(original)
    return answer(500, "Something unexpected happened. It was written down.")


def answer(status: int, message: str, *, fields: Any = None, name: str | None = None) -> Response:
    """The error as JSON for programs or as a page for people.

    :param fields: what is wrong with which field, as marshmallow says it.
    """
    if status >= 500 and _has_committed():
        message = _DONE
    known = default_exceptions.get(status, UnprocessableEntity)
    record = {
        "error": name or _name(known, status),
        "message": message,
        "status_code": status,
        "correlation": correlation(),
    }
    if status >= 500 and "_login_user" not in g:
        # The page would ask who is signed in; that may be what has just failed.
        g._login_user = AnonymousUserMixin()  # noqa: SLF001  (Flask-Login reads this)
    if wants_json():
        response = jsonify({**record, **({"fields": fields} if fields else {})})
    elif isinstance(request.routing_exception, SecurityError):
        # The host's name is none, so no page of ours can link to another.
        response = Response(f"{status} {record['error']}\n", mimetype="text/plain")
    else:
        response = Response(render_template("error.html", **record), mimetype="text/html")
    response.status_code = status
    return response


_DONE = "The change was made, and what came after it failed. Look before you repeat it."


def _has_committed() -> bool:
    """Whether this request has changed something for good before it failed."""
    return any(unit.committed for unit in g.get("units", ()))


def _name(known: type[HTTPException], status: int) -> str:
    from http import HTTPStatus

    return HTTPStatus(status).phrase if known.code != status else known().name


def _summary(messages: Any) -> str:
    """One line of what marshmallow found: ``email: Not a valid string.``"""
    parts = []
    for _location, found in messages.items():
        items = found.items() if isinstance(found, dict) else [("", found)]
        for field, said in items:
            first = said[0] if isinstance(said, list) else said
            parts.append(f"{text.shortened(str(field))}: {first}" if field else str(first))
    return " ".join(parts)


def wants_json() -> bool:
    """Whether a program is asking: below ``/api/``, or it prefers JSON."""
    if request.path.startswith("/api/") or request.path in ("/healthz", "/readyz"):
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"
