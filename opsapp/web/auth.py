"""Signing in: Flask-Security, hardened, on our datastore, with sessions the server keeps."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

from flask import Flask, Response, abort, g, request, session
from flask_login import user_logged_out
from flask_security import Security, user_authenticated
from flask_security.utils import set_request_attr
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.exc import SQLAlchemyError

from .. import clock, sealing, signals
from ..errors import Busy, OpsError
from ..extensions import this_app
from ..models import User
from ..services import mail, sessions
from . import forms
from .acting import client, unit_of_self
from .datastore import AuditedDatastore, keep_signed_in
from .signing_in import OneTimeTotp, teach

log = logging.getLogger(__name__)

csrf = CSRFProtect()

HASHES_AT_ONCE = 4
"""Each takes 64 MiB and a processor."""
HASH_SECONDS = 5
FRESH = timedelta(minutes=15)
"""So long after the password was typed, what matters may be changed."""


def settings(app: Flask) -> dict[str, Any]:
    """Flask-Security's settings that the commands do not need."""
    return {
        "SECURITY_USE_REGISTER_V2": True,
        "SECURITY_REGISTERABLE": app.config["OPSAPP_REGISTRATION"],
        "SECURITY_CONFIRMABLE": True,
        "SECURITY_RECOVERABLE": True,
        "SECURITY_CHANGEABLE": True,
        "SECURITY_TWO_FACTOR": True,
        "SECURITY_TWO_FACTOR_ENABLED_METHODS": ["authenticator"],
        "SECURITY_TWO_FACTOR_RESCUE_EMAIL": False,
        "SECURITY_TWO_FACTOR_AUTHENTICATOR_VALIDITY": 30,
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES": True,
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES_N": 10,
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES_KEYS": [sealing.key(app, "recovery codes")],
        "SECURITY_TOTP_SECRETS": {"1": sealing.key(app, "totp").decode()},
        "SECURITY_TOTP_ISSUER": app.config["APP_NAME"],
        # What is said must not tell which accounts there are.
        "SECURITY_RETURN_GENERIC_RESPONSES": True,
        "SECURITY_RESET_PASSWORD_WITHIN": timedelta(hours=1),
        "SECURITY_FRESHNESS": FRESH,
        "SECURITY_FRESHNESS_GRACE_PERIOD": FRESH,
        "SECURITY_API_ENABLED_METHODS": ["session"],
        "SECURITY_DATETIME_FACTORY": clock.now,
        "SECURITY_POST_LOGIN_VIEW": "/",
        "SECURITY_POST_LOGOUT_VIEW": "/login",
        "SECURITY_EMAIL_HTML": False,
        "SECURITY_EMAIL_SENDER": app.config["MAIL_DEFAULT_SENDER"],
        "SECURITY_EMAIL_SUBJECT_REGISTER": f"{app.config['APP_NAME']}: Please confirm your e-mail",
    }


def init_app(app: Flask) -> None:
    """Bring up Flask-Security, CSRF protection and the sessions."""
    teach()
    app.config.from_mapping({**settings(app), **_given(app)})
    csrf.init_app(app)
    security = Security(
        app,
        AuditedDatastore(),
        login_form=forms.SignInForm,
        verify_form=forms.VerifyAgainForm,
        change_password_form=forms.ChangeForm,
        two_factor_verify_code_form=forms.CodeForm,
        mf_recovery_form=forms.RecoveryForm,
        mail_util_cls=forms.OutboxMail,
        totp_cls=OneTimeTotp,
    )
    # Pages for people; programs have the API and its tokens.
    security.want_json(lambda _request: False)
    security.login_manager.user_loader(load_user)
    security.login_manager.request_loader(None)
    user_authenticated.connect(open_session, app)
    user_logged_out.connect(end_session, app)
    app.before_request(take_hashing_turn)
    app.teardown_request(give_hashing_turn_back)
    app.after_request(send_mail_afterwards)


def _given(app: Flask) -> dict[str, Any]:
    """What the application has set itself goes before our settings."""
    return {name: app.config[name] for name in settings(app) if name in app.config}


# --- sessions ----------------------------------------------------------------


def load_user(uniquifier: str) -> User | None:
    """The account of the session in the cookie, while the server knows it as open."""
    found = sessions.find_live(session.get("key", ""))
    if found is None or found.user.fs_uniquifier != uniquifier:
        return None
    set_request_attr("fs_authn_via", "session")
    set_request_attr("fs_paa", session.get("fs_paa", 0))
    g.session_id = found.id
    try:
        sessions.see(found)
    except (OpsError, SQLAlchemyError) as error:
        # When it was seen is worth less than the answer.
        log.warning("the session's use was not written down: %s", error)
    return found.user


def open_session(app: Flask, user: User, authn_via: list[str] | None = None, **_extra: Any) -> None:
    """Open a session for who has signed in; who changed the password goes on in theirs."""
    if authn_via == ["change"]:
        keep_signed_in(user)
        return
    key, id = sessions.start(user, client())
    session["key"] = key
    signals.announce(
        signals.user_logged_in,
        this_app(),
        actor=unit_of_self(user).actor,
        user_id=user.id,
        session_id=id,
    )


def end_session(app: Flask, **_extra: Any) -> None:
    """End the session of who logs out, here and in the database."""
    if key := session.pop("key", None):
        sessions.log_out(key)


# --- around each request -------------------------------------------------------

_hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)


def take_hashing_turn() -> None:
    """Let only so many passwords be hashed at once, and take forms only.

    :raises Busy: others hash, and have not finished in time.
    """
    if request.endpoint == "security.two_factor_rescue":
        abort(404)  # Recovery codes and `flask users reset-access` are the ways back in.
    if request.blueprint != "security" or request.method != "POST":
        return
    if request.is_json:
        abort(415, "These are pages with forms; programs use the API under /api/.")
    if not _hashing.acquire(timeout=HASH_SECONDS):
        raise Busy("too many people sign in at once")
    g.is_hashing = True


def give_hashing_turn_back(_error: BaseException | None) -> None:
    """Let the next one hash."""
    if g.pop("is_hashing", False):
        _hashing.release()


def send_mail_afterwards(response: Response) -> Response:
    """Send what this request wrote once its answer is out: nobody waits for a mail server."""
    if ids := mail.take_kept():
        app = this_app()

        def send() -> None:
            with app.app_context():
                mail.send(ids)

        response.call_on_close(send)
    return response
