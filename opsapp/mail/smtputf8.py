"""SMTPUTF8: whether the mail server supports it, asked when a non-ASCII name is entered."""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import Flask

from .. import settings, text
from . import outbox
from .undeliverable import NO_UTF8, SENDER_NEEDS_UTF8, is_plain

log = logging.getLogger(__name__)

KEPT_SECONDS = 300.0
"""The time for which a process remembers the answer of the server."""
_ANSWER = "opsapp-smtputf8"


def refuse_undeliverable(app: Flask, *, email: str, **_extra: Any) -> str | None:
    """Return why the server cannot deliver to this address, or None."""
    return None if is_plain(email) or _is_offered(app) else NO_UTF8


def error_of_sender(app: Flask) -> str | None:
    """Return why the server does not take mail of ``MAIL_DEFAULT_SENDER``, or None."""
    sender = settings.of(app, "MAIL_DEFAULT_SENDER")
    return None if is_plain(sender) or _is_offered(app) else SENDER_NEEDS_UTF8


def _is_offered(app: Flask) -> bool:
    """Return whether the server offers SMTPUTF8; True if it cannot be asked, as mail waits."""
    at, is_offered = app.extensions.get(_ANSWER, (float("-inf"), True))
    if time.monotonic() - at > KEPT_SECONDS:
        # The other threads go on with the last answer.
        app.extensions[_ANSWER] = (time.monotonic(), is_offered)
        is_offered = _ask()
        app.extensions[_ANSWER] = (time.monotonic(), is_offered)
    return bool(is_offered)


def _ask() -> bool:
    if not outbox.is_configured():
        return True
    backend = outbox.mailer().get_connection()
    if not hasattr(backend, "offers_utf8"):
        return True  # It is not SMTP.
    try:
        return bool(backend.offers_utf8())
    except (OSError, ValueError) as error:  # SMTP's errors are OSErrors.
        log.warning("the mail server was not asked for SMTPUTF8: %s", text.safe(error))
        return True
