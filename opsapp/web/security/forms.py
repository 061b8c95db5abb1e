"""Flask-Security's forms, which count an attempt before they check a secret.

docs/decisions/web.md#a-try-is-counted-before-the-password-is-checked
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, request, session, url_for
from flask_security.forms import (
    ChangePasswordForm,
    LoginForm,
    RequiredLocalize,
    ResetPasswordForm,
    TwoFactorVerifyCodeForm,
    VerifyForm,
)
from flask_security.mail_util import EmailValidateException, MailUtil
from flask_security.recovery_codes import MfRecoveryForm
from flask_security.utils import get_message, verify_password
from wtforms import Field, StringField, ValidationError

from ... import addresses, clock, settings, text
from ...accounts import lockouts, logins, lookup
from ...errors import Invalid
from ...mail import outbox
from ...mail.outbox import Message
from ...models import User
from ..actor import client, signed_in_user
from . import browsers, messages, stale

NOTICES = frozenset({"change_notice", "reset_notice"})
"""Mail about changes; any stranger can request all other mail, so that is limited."""
REQUESTED_EVERY = timedelta(minutes=5)


class Counted:
    """A form that counts an attempt before it compares a secret."""

    form_errors: list[str]
    user: Any

    def may_attempt(self, identity: str, user: User | None) -> bool:
        """Count an attempt; return False, with an error in the form, while locked out."""
        browser = browsers.browser_of(user)
        until = lockouts.count_attempt(identity, user.id if user else None, client(), browser)
        if until is None:
            return True
        minutes = math.ceil((until - clock.now()).total_seconds() / 60)
        pause = text.pluralize(minutes, "minute")
        self.form_errors.append(f"Too many attempts. Try again in {pause}.")
        return False


class SignInForm(Counted, LoginForm):
    """One field for the e-mail address or the username."""

    remember = None  # Its cookie would have none of the attributes of ours.
    email = StringField(
        "E-mail or username",
        render_kw={"autocomplete": "username"},
        validators=[RequiredLocalize("EMAIL_NOT_PROVIDED")],
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if request.method == "GET":
            self.email.data = stale.typed_address()

    def validate(self, **kwargs: Any) -> bool:
        typed = (self.email.data or "").strip()[:320]
        if not typed or not self.password.data:
            return bool(super().validate(**kwargs))
        self.ifield = self.email
        # An id is not a name to sign in with.
        self.user = None if typed.isdigit() else lookup.find_user(typed)
        if not self.may_attempt(typed, self.user):
            return False
        valid = bool(super().validate(**kwargs))
        if not valid and (outcome := self._outcome()):
            logins.store_failure(outcome, typed, self.user and self.user.id, client())
        return valid

    def _outcome(self) -> str | None:
        """Return the outcome to store, or None where it is stored already."""
        if self.user is None or not self.user_authenticated:
            return None
        return "unconfirmed" if self.requires_confirmation else "inactive"


class VerifyAgainForm(Counted, VerifyForm):
    """The password once more, before a sensitive change; the right one resets the counter."""

    def validate(self, **kwargs: Any) -> bool:
        user = self.user
        if not self.may_attempt(user.email or "", user):
            return False
        valid = bool(super().validate(**kwargs))
        if valid:
            lockouts.reset(user.id, browsers.browser_of(user))
        return valid


class ChangeForm(Counted, ChangePasswordForm):
    """A change of the password, which asks for the present one; names all errors at once."""

    def validate(self, **kwargs: Any) -> bool:
        user = signed_in_user()
        if not self.may_attempt(user.email or "", user):
            return False
        # Not Flask-Security's method, which stops at the first error.
        valid = bool(super(ChangePasswordForm, self).validate(**kwargs))
        if valid:
            self.new_password.data = policy().normalize(self.new_password.data)
        return valid

    def validate_password(self, field: Field) -> None:
        """Check the present password; the right one resets the counter.

        The view lets a user without a password come here after a fresh login only.
        """
        user = signed_in_user()
        if user.password:
            typed = policy().normalize(field.data or "")
            if not typed.strip():
                raise ValidationError(get_message("PASSWORD_NOT_PROVIDED")[0])
            if not verify_password(typed, user.password):
                raise ValidationError(get_message("INVALID_PASSWORD")[0])
        lockouts.reset(user.id, browsers.browser_of(user))

    def validate_new_password(self, field: Field) -> None:
        """Check the new password against the policy, and the present one if that is right."""
        problems, normal = policy().validate(field.data, False, user=signed_in_user())
        present = self.password
        if present.data and not present.errors and policy().normalize(present.data) == normal:
            raise ValidationError(get_message("PASSWORD_IS_THE_SAME")[0])
        field.errors = [*field.errors, *(problems or [])]


def policy() -> Any:
    """Return the policy of passwords."""
    return current_app.extensions["security"].password_util


class ResetForm(ResetPasswordForm):
    """A new password by a mailed link; names all errors at once."""

    def validate(self, **kwargs: Any) -> bool:
        # Not Flask-Security's method, which stops at the first error.
        valid = bool(super(ResetPasswordForm, self).validate(**kwargs))
        if valid:
            self.password.data = policy().normalize(self.password.data)
        return valid

    def validate_password(self, field: Field) -> None:
        """Check the password against the policy."""
        problems, _normal = policy().validate(field.data, False, user=self.user)
        field.errors = [*field.errors, *(problems or [])]


class CodeForm(Counted, TwoFactorVerifyCodeForm):
    """A code of the authenticator app; signing in resets the counter."""

    code = StringField(validators=[RequiredLocalize(message=messages.ENTER_CODE)])

    def validate(self, **kwargs: Any) -> bool:
        user = self.user
        # The seed of a pairing is on the user's own page, so its codes are no guesses.
        is_pairing = self.is_setup or session.get("tf_state") == "validating_profile"
        if user and not is_pairing and not self.may_attempt(user.email or "", user):
            return False
        return bool(super().validate(**kwargs))


class RecoveryForm(Counted, MfRecoveryForm):
    """A recovery code; Flask-Security itself does not limit guesses."""

    code = StringField(validators=[RequiredLocalize(message=messages.ENTER_CODE)])

    def validate(self, **kwargs: Any) -> bool:
        if self.user is None or not self.may_attempt(self.user.email or "", self.user):
            return False
        valid = bool(super().validate(**kwargs))
        if not valid:
            self.user.track_failed_authn("code", True)
        return valid


def _with_public_links(body: str) -> str:
    """Return the text with links to ``OPSAPP_URL``, not to the host of the request."""
    url = settings.get("OPSAPP_URL")
    local = urlsplit(url_for("account.show", _external=True))
    return body.replace(f"{local.scheme}://{local.netloc}/", f"{url}/") if url else body


class OutboxMail(MailUtil):
    """Addresses in our canonical form, and messages into the outbox."""

    def normalize(self, email: str) -> str:
        """Return the canonical form of an address for a lookup."""
        return self.validate(email)

    def validate(self, email: str) -> str:
        """Return the canonical form of an address.

        :raises EmailValidateException: it is not an address.
        """
        try:
            return addresses.clean(email)
        except Invalid as error:
            raise EmailValidateException(text.sentence(error.message)) from error

    def send_mail(
        self,
        template: str,
        subject: str,
        recipient: Any,
        sender: Any,
        body: str | None,
        html: str | None,
        **kwargs: Any,
    ) -> None:
        """Put the message into the outbox; it is sent after the response."""
        user = kwargs.get("user")
        kind = str(template).rsplit("/", 1)[-1]
        about = user.reference if user is not None else None
        safe = text.safe_lines(_with_public_links(body or ""))
        message = Message(kind, str(recipient), str(subject), safe, about)
        since = None if kind in NOTICES else _last_change(user)
        outbox.keep([message], unless_since=since)


def _last_change(user: User | None) -> datetime:
    """Return the time since which an account needs one mail only: a change may end its link."""
    pause = clock.now() - REQUESTED_EVERY
    return pause if user is None else max(pause, user.updated_at)
