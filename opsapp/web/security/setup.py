"""Signing in: Flask-Security, hardened, on our datastore, with sessions the server keeps."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from flask import Flask, Response, abort, g, redirect, request, session, url_for
from flask_login import current_user, user_logged_out
from flask_security import Security, auth_required, user_authenticated
from flask_security.utils import (
    check_and_get_token_status,
    set_request_attr,
    validate_redirect_url,
)
from flask_wtf.csrf import CSRFProtect

from ... import clock, crypto, signals
from ...accounts import sessions
from ...accounts.password_policy import Policy
from ...errors import Busy
from ...extensions import this_app
from ...mail import outbox
from ...models import User
from ..actor import client, unit_of_self, write_down_use
from . import forms
from .datastore import AuditedDatastore, keep_signed_in
from .user_mixin import OneTimeTotp, teach

log = logging.getLogger(__name__)

csrf = CSRFProtect()

HASHES_AT_ONCE = 4
"""Each takes 64 MiB and a processor."""
HASH_SECONDS = 5
POSTMAN = "opsapp-postman"
"""The thread that sends mail."""
FRESH = timedelta(minutes=15)
"""So long after the password was typed, what matters may be changed."""
NO_GRACE = timedelta(0)
"""Each use would else make it longer, without end."""


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
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES_KEYS": [crypto.key(app, "recovery codes")],
        "SECURITY_TOTP_SECRETS": {"1": crypto.key(app, "totp").decode()},
        "SECURITY_TOTP_ISSUER": app.config["APP_NAME"],
        # What is said must not tell which accounts there are.
        "SECURITY_RETURN_GENERIC_RESPONSES": True,
        "SECURITY_MSG_GENERIC_AUTHN_FAILED": (
            "The name, the password or the code is not right.",
            "error",
        ),
        # Whoever opens the start page has done nothing wrong.
        "SECURITY_MSG_UNAUTHENTICATED": ("Please sign in first.", "info"),
        "SECURITY_RESET_PASSWORD_WITHIN": timedelta(hours=1),
        "SECURITY_FRESHNESS": FRESH,
        "SECURITY_FRESHNESS_GRACE_PERIOD": NO_GRACE,
        "SECURITY_API_ENABLED_METHODS": ["session"],
        "SECURITY_DATETIME_FACTORY": clock.now,
        "SECURITY_POST_LOGIN_VIEW": "/",
        "SECURITY_POST_LOGOUT_VIEW": "/login",
        "SECURITY_POST_REGISTER_VIEW": "/login",
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
        password_util_cls=Policy,
        totp_cls=OneTimeTotp,
    )
    # Pages for people; programs have the API and its tokens.
    security.want_json(lambda _request: False)
    security.login_manager.user_loader(load_user)
    security.login_manager.request_loader(None)
    user_authenticated.connect(open_session, app)
    user_logged_out.connect(end_session, app)
    _ask_for_freshness(app)
    app.extensions[POSTMAN] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=POSTMAN)
    app.before_request(check_request)
    app.before_request(take_hashing_turn)
    app.teardown_request(give_hashing_turn_back)
    app.after_request(take_as_long_as_ever)
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
    write_down_use(sessions.see, found)
    return found.user


def open_session(app: Flask, user: User, authn_via: list[str] | None = None, **_extra: Any) -> None:
    """Open a session for who has signed in; who changed the password goes on in theirs."""
    if authn_via == ["change"]:
        keep_signed_in(user)
        return
    key, id = sessions.start(user, client())
    session["key"] = key
    # Whoever gave this browser its cookie knows the token that is in there.
    for kept in (session, g):
        kept.pop("csrf_token", None)
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


# --- what Flask-Security's pages leave open --------------------------------------


def _ask_for_freshness(app: Flask) -> None:
    """Pairing an app asks for a password typed lately; its last step must, as the first does."""
    last_step = "security.two_factor_setup_validate"
    asks = auth_required("session", within=lambda: FRESH, grace=lambda: NO_GRACE)
    app.view_functions[last_step] = asks(app.view_functions[last_step])


def check_request() -> Any:
    """Refuse what Flask-Security's pages would take and should not."""
    if request.blueprint != "security":
        return None
    if request.is_json:
        abort(415, "These are pages with forms; programs use the API under /api/.")
    if not all(_is_ours(url) for url in request.values.getlist("next")):
        abort(400, "This link would lead to another site.")
    match request.endpoint:
        case "security.two_factor_rescue":
            abort(404)  # Recovery codes and `flask users reset-access` are the ways back in.
        case "security.two_factor_token_validation":
            # It would sign out whoever comes without having begun anything.
            if current_user.is_authenticated and session.get("tf_state") != "validating_profile":
                return redirect(url_for("account.show"))
        case "security.two_factor_setup_validate":
            token = (request.view_args or {})["token"]
            _expired, _invalid, state = check_and_get_token_status(token, "tf_setup", FRESH)
            # Who knows somebody else's link must not pair their own app with this account.
            if state and state["totp_secret"] != session.get("tf_totp_secret"):
                return redirect(url_for("security.two_factor_setup"))
    return None


def _is_ours(url: str) -> bool:
    try:
        # Browsers read a backslash as a slash: /\evil.example is another site.
        return not url or ("\\" not in url and bool(validate_redirect_url(url)))
    except ValueError:
        return False


ALIKE = frozenset({"security.forgot_password", "security.send_confirmation", "security.register"})
"""The pages that find an account by what a stranger types, and must not tell."""
ALIKE_SECONDS = 0.8
"""So long their answer takes at least: more than the slowest of what they may have to do."""


def take_as_long_as_ever(response: Response) -> Response:
    """Answer at the same moment, whether there is such an account or not."""
    if "alike_until" in g:
        give_hashing_turn_back(None)
        time.sleep(max(0.0, g.alike_until - time.monotonic()))
    return response


# --- around each request -------------------------------------------------------

_hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)


def take_hashing_turn() -> None:
    """Let only so many passwords be hashed at once.

    :raises Busy: others hash, and have not finished in time.
    """
    if request.blueprint != "security" or request.method != "POST":
        return
    if request.endpoint in ALIKE:
        g.alike_until = time.monotonic() + ALIKE_SECONDS
    if not _hashing.acquire(timeout=HASH_SECONDS):
        raise Busy("too many people sign in at once")
    g.is_hashing = True


def give_hashing_turn_back(_error: BaseException | None) -> None:
    """Let the next one hash."""
    if g.pop("is_hashing", False):
        _hashing.release()


def send_mail_afterwards(response: Response) -> Response:
    """Send what this request wrote, in a thread: nobody waits for a mail server."""
    if ids := outbox.take_kept():
        app = this_app()
        postman: Executor = app.extensions[POSTMAN]
        response.call_on_close(lambda: postman.submit(_send, app, ids))
    return response


def _send(app: Flask, ids: tuple[int, ...]) -> None:
    try:
        with app.app_context():
            outbox.send(ids)
    except Exception:
        # Nobody is left to tell; the messages wait for `flask mail send-pending`.
        log.exception("mail waits")
