"""Forms of a page that is older than its session: they lead back to their page, not to an error.

Each login makes a new CSRF token, so the forms of other tabs have the old one.

docs/decisions/web.md#a-stale-form-leads-back-to-its-page
"""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, session, url_for
from flask_login import current_user
from flask_security.utils import get_message
from flask_wtf.csrf import CSRFError, validate_csrf
from wtforms import ValidationError

from .. import errors, security_log

FOR_STRANGERS = frozenset({"security.login", "security.register", "security.mf_recovery"})
TYPED = "typed"
LONGEST = 254


def answer(error: CSRFError) -> Any:
    """Redirect to the page of the form; for a form that is not stale, answer with the error."""
    if errors.wants_json() or not _is_stale():
        return errors.answer_forged(error)
    security_log.log_refusal(400, str(error.description))
    if current_user.is_authenticated and request.endpoint in FOR_STRANGERS:
        flash(*get_message("ANONYMOUS_USER_REQUIRED"))
        return redirect(url_for("account.show"), 303)
    if address := request.form.get("email"):
        session[TYPED] = address[:LONGEST]
    flash("This page was out of date, so nothing has changed. Please repeat it.", "info")
    return redirect(request.full_path if _has_page() else url_for("account.show"), 303)


def _is_stale() -> bool:
    """Return whether the form has the token of another session of this browser.

    The form of another site comes without a cookie. Its answer must set none, which would
    sign the user out.
    """
    token = request.form.get("csrf_token")
    if not token or not session:
        return False
    try:
        validate_csrf(token)
    except ValidationError:
        return True
    return False  # The Referer is wrong or missing.


def _has_page() -> bool:
    rule = request.url_rule
    return rule is not None and "GET" in (rule.methods or ())


def typed_address() -> str | None:
    """Return the address of the form that was refused, once."""
    address: str | None = session.pop(TYPED, None)
    return address
