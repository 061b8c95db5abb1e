"""Sign-in: Flask-Security, hardened, on our datastore, with sessions kept by the server."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from flask import Flask, Response, abort, flash, g, redirect, request, session, url_for
from flask_login import current_user, user_logged_out
from flask_security import Security, user_authenticated
from flask_security.utils import (
    check_and_update_authn_fresh,
    set_request_attr,
    validate_redirect_url,
)
from flask_wtf.csrf import CSRFError, CSRFProtect

from ... import clock, crypto, settings, signals
from ...accounts import sessions
from ...accounts.password_policy import Policy
from ...errors import Busy
from ...extensions import this_app
from ...mail import outbox
from ...models import User
from ..actor import checks_password, client, note_use, unit_of_self
from . import browsers, forms, links, messages, stale
from .datastore import AuditedDatastore, keep_signed_in
from .recovery import RecoveryCodes, show_first_codes
from .user_mixin import OneTimeTotp, add_methods

log = logging.getLogger(__name__)

csrf = CSRFProtect()

HASHES_AT_ONCE = 4
"""Each hash takes 64 MiB and a processor."""
HASH_SECONDS = 5
FRESH = timedelta(minutes=15)
"""The time after typing a password in which sensitive changes are allowed."""
NO_GRACE = timedelta(0)
"""Otherwise each use would extend it, without end."""


def flask_security(app: Flask) -> dict[str, Any]:
    """Return Flask-Security's settings that the commands do not need."""
    return {
        "SECURITY_USE_REGISTER_V2": True,
        "SECURITY_REGISTERABLE": settings.of(app, "OPSAPP_REGISTRATION"),
        # An account that registered works once the reader of its mail has set a password.
        "SECURITY_CONFIRMABLE": True,
        "SECURITY_RECOVERABLE": True,
        "SECURITY_CHANGEABLE": True,
        "SECURITY_TWO_FACTOR": True,
        "SECURITY_TWO_FACTOR_ENABLED_METHODS": ["authenticator"],
        "SECURITY_TWO_FACTOR_RESCUE_EMAIL": False,
        "SECURITY_TWO_FACTOR_POST_SETUP_VIEW": "/",
        "SECURITY_TWO_FACTOR_AUTHENTICATOR_VALIDITY": 30,
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES": True,
        "SECURITY_TOTP_SECRETS": {"1": crypto.key(app, "totp").decode()},
        # The address in the QR code separates the issuer from the account with a colon.
        "SECURITY_TOTP_ISSUER": settings.of(app, "OPSAPP_NAME").replace(":", "-"),
        # Answers must not reveal which accounts exist.
        "SECURITY_RETURN_GENERIC_RESPONSES": True,
        "SECURITY_RESET_PASSWORD_WITHIN": timedelta(hours=1),
        # A form works for as long as the session whose cookie has its token.
        "WTF_CSRF_TIME_LIMIT": None,
        "SECURITY_FRESHNESS": FRESH,
        "SECURITY_FRESHNESS_GRACE_PERIOD": NO_GRACE,
        "SECURITY_API_ENABLED_METHODS": ["session"],
        "SECURITY_DATETIME_FACTORY": clock.now,
        "SECURITY_POST_LOGIN_VIEW": "/",
        "SECURITY_POST_LOGOUT_VIEW": "/login",
        "SECURITY_POST_REGISTER_VIEW": "/login",
        "SECURITY_EMAIL_HTML": False,
        "SECURITY_EMAIL_SENDER": settings.of(app, "MAIL_DEFAULT_SENDER"),
        # Of values in links that are random and signed; a slow hash would only tell by its time.
        "SECURITY_HASHING_SCHEMES": ["hex_sha256"],
        "SECURITY_DEPRECATED_HASHING_SCHEMES": [],
        **messages.settings(settings.of(app, "OPSAPP_NAME")),
    }


def init_app(app: Flask) -> None:
    """Bring up Flask-Security, CSRF protection and the sessions."""
    add_methods()
    for name, value in flask_security(app).items():
        app.config.setdefault(name, value)
    csrf.init_app(app)
    app.register_error_handler(CSRFError, stale.answer)
    security = Security(
        app,
        AuditedDatastore(),
        login_form=forms.SignInForm,
        verify_form=forms.VerifyAgainForm,
        change_password_form=forms.ChangeForm,
        reset_password_form=forms.ResetForm,
        two_factor_verify_code_form=forms.CodeForm,
        mf_recovery_form=forms.RecoveryForm,
        mail_util_cls=forms.OutboxMail,
        password_util_cls=Policy,
        totp_cls=OneTimeTotp,
        mf_recovery_codes_util_cls=RecoveryCodes,
    )
    # Pages for people; programs have the API and its tokens.
    security.want_json(lambda _request: False)
    security.login_manager.user_loader(load_user)
    security.login_manager.request_loader(None)
    user_authenticated.connect(open_session, app)
    user_logged_out.connect(end_session, app)
    links.init_app(app)
    security.tf_token_validation_context_processor(pairing_values)
    app.extensions[outbox.MAIL_THREAD] = ThreadPoolExecutor(
        1, thread_name_prefix=outbox.MAIL_THREAD
    )
    app.before_request(check_request)
    app.before_request(require_new_password)
    app.before_request(acquire_hashing)
    app.teardown_request(release_hashing)
    app.after_request(pad_response_time)
    app.after_request(show_first_codes)
    app.after_request(send_mail_afterwards)


# --- sessions ----------------------------------------------------------------


def load_user(uniquifier: str) -> User | None:
    """Return the account of the cookie's session, while that is live."""
    row = sessions.find_live(session.get("key", ""))
    if row is None or row.user.fs_uniquifier != uniquifier:
        return None
    set_request_attr("fs_authn_via", "session")
    set_request_attr("fs_paa", session.get("fs_paa", 0))
    g.session_id = row.id
    note_use(row)
    return row.user


def open_session(app: Flask, user: User, authn_via: list[str] | None = None, **_extra: Any) -> None:
    """Open a session after a login; after a change of the password, keep the present one."""
    if authn_via == ["change"]:
        keep_signed_in(user)
        return
    key, id = sessions.start(user, client(), browsers.browser_of(user))
    browsers.remember(user)
    session["key"] = key
    # An attacker who planted this cookie would know its token.
    for store in (session, g):
        store.pop("csrf_token", None)
    signals.announce(
        signals.user_logged_in,
        this_app(),
        actor=unit_of_self(user).actor,
        user_id=user.id,
        session_id=id,
    )


def end_session(app: Flask, **_extra: Any) -> None:
    """End the session of a user who logs out, in the cookie and in the database."""
    if key := session.pop("key", None):
        sessions.log_out(key)


# --- gaps in Flask-Security's pages ------------------------------------------------


def pairing_values() -> dict[str, Any]:
    """Return the key of the app that is being paired, to show it again after a wrong code."""
    if session.get("tf_state") != "validating_profile":
        return {}
    security, user = this_app().extensions["security"], current_user
    if not user.is_authenticated:
        user = security.datastore.find_user(fs_uniquifier=session["tf_user_id"])
    return {"authr": security.totp_factory.fetch_setup_values(session["tf_totp_secret"], user)}


def check_request() -> Any:
    """Refuse requests that Flask-Security's pages would accept."""
    if request.blueprint in ("security", "account") and request.files:
        abort(400, "The forms of these pages have no file.")
    if request.blueprint != "security":
        return None
    if request.is_json:
        abort(415, "These are pages with forms; programs use the API under /api/.")
    if not all(_is_local(url) for url in request.values.getlist("next")):
        abort(400, "This link leads to another site.")
    match request.endpoint:
        case "security.confirm_email" | "security.send_confirmation":
            abort(404)  # Setting the first password confirms; its link comes from /reset.
        case "security.two_factor_rescue":
            abort(404)  # Recovery codes and `flask users reset-access` are the ways back in.
        case "security.two_factor_setup_validate":
            abort(404)  # /tf-validate ends the pairing that this session began, and keeps its key.
        case "security.two_factor_token_validation" if current_user.is_authenticated:
            # It would sign out a user who has not begun to pair an app.
            if session.get("tf_state") != "validating_profile":
                return redirect(url_for("account.show"))
            if not check_and_update_authn_fresh(FRESH, NO_GRACE, "session"):
                return redirect(
                    url_for("security.verify", next=url_for("security.two_factor_setup"))
                )
    return None


def require_new_password() -> Any:
    """Let a user whom an operator gave a password choose another one before all else."""
    # The API answers for itself, with a status that programs understand.
    is_free = request.endpoint in WITHOUT_NEW_PASSWORD or request.path.startswith("/api/")
    if is_free or "key" not in session:
        return None
    if not current_user.is_authenticated or not current_user.must_change_password:
        return None
    flash("Choose a new password first.", "info")
    return redirect(url_for("security.change_password"))


WITHOUT_NEW_PASSWORD = frozenset(
    {
        *("security.change_password", "security.logout", "security.verify"),
        *("static", "health.healthz", "health.readyz", None),
    }
)
"""The endpoints that a user needs before there is a new password."""


def _is_local(url: str) -> bool:
    try:
        # Browsers read a backslash as a slash: /\evil.example is another site.
        return not url or ("\\" not in url and bool(validate_redirect_url(url)))
    except ValueError:
        return False


ALIKE = frozenset({"security.forgot_password", "security.register"})
"""Pages that look up an account for a stranger; they must not reveal if there is one."""
ALIKE_SECONDS = 0.8
"""The least time of their answers, more than the slowest case takes."""


def pad_response_time(response: Response) -> Response:
    """Answer after the same time, with or without such an account."""
    if "alike_until" in g:
        release_hashing(None)
        time.sleep(max(0.0, g.alike_until - time.monotonic()))
    return response


# --- around each request -------------------------------------------------------

_hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)


def acquire_hashing() -> None:
    """Limit the number of passwords that are hashed at once.

    :raises Busy: other requests have not finished in time.
    """
    if not checks_password():
        return
    if request.endpoint in ALIKE:
        g.alike_until = time.monotonic() + ALIKE_SECONDS
    if not _hashing.acquire(timeout=HASH_SECONDS):
        raise Busy("too many people sign in at once")
    g.is_hashing = True


def release_hashing(_error: BaseException | None) -> None:
    """Let the next request hash."""
    if g.pop("is_hashing", False):
        _hashing.release()


def send_mail_afterwards(response: Response) -> Response:
    """Send this request's mail in a thread, so that the caller need not wait.

    Not when the response is closed: Werkzeug leaves that out if the browser has gone.
    """
    if ids := outbox.take_kept():
        app = this_app()
        executor: Executor = app.extensions[outbox.MAIL_THREAD]
        executor.submit(_send, app, ids)
    return response


def _send(app: Flask, ids: tuple[int, ...]) -> None:
    try:
        with app.app_context():
            outbox.send(ids)
    except Exception:
        # The response is out; the messages wait for `flask mail send-pending`.
        log.exception("mail waits")
