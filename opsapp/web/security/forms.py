"""Flask-Security's forms, which count an attempt before they check a secret.

docs/decisions/web.md#a-try-is-counted-before-the-password-is-checked
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, url_for
from flask_security.forms import (
    ChangePasswordForm,
    LoginForm,
    RequiredLocalize,
    TwoFactorVerifyCodeForm,
    VerifyForm,
)
from flask_security.mail_util import EmailValidateException, MailUtil
from flask_security.recovery_codes import MfRecoveryForm
from flask_security.utils import get_message, verify_password
from wtforms import Field, StringField, ValidationError

from ... import addresses, clock
from ...accounts import lockouts, logins, lookup
from ...errors import Invalid
from ...mail import outbox
from ...mail.outbox import Message
from ...models import User
from ..actor import client, signed_in_user
from . import browsers

NOTICES = frozenset({"change_notice", "reset_notice"})
"""Mail about changes; any stranger can request all other mail, so that is limited."""
REQUESTED_EVERY = timedelta(minutes=5)


class Counted:
    """A form that counts an attempt before it compares a secret."""

    form_errors: list[str]
    user: Any

    def may_attempt(self, identity: str, user: User | None) -> bool:
        """Count an attempt; return False, with an error in the form, while locked out."""
        browser = browsers.known_as(user)
        until = lockouts.count_attempt(identity, user.id if user else None, client(), browser)
        if until is None:
            return True
        minutes = math.ceil((until - clock.now()).total_seconds() / 60)
        self.form_errors.append(
            f"Too many attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}."
        )
        return False


class SignInForm(Counted, LoginForm):
    """One field for the e-mail address or the username."""

    email = StringField(
        "E-mail or username",
        render_kw={"autocomplete": "username"},
        validators=[RequiredLocalize("EMAIL_NOT_PROVIDED")],
    )

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
            logins.failed(outcome, typed, self.user and self.user.id, client())
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
            lockouts.reset(user.id, browsers.known_as(user))
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

        The view lets a user without a password come here after a fresh sign-in only.
        """
        user = signed_in_user()
        if user.password:
            typed = policy().normalize(field.data or "")
            if not typed.strip():
                raise ValidationError(get_message("PASSWORD_NOT_PROVIDED")[0])
            if not verify_password(typed, user.password):
                raise ValidationError(get_message("INVALID_PASSWORD")[0])
        lockouts.reset(user.id, browsers.known_as(user))

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


class CodeForm(Counted, TwoFactorVerifyCodeForm):
    """A code of the authenticator app; signing in resets the counter."""

    def validate(self, **kwargs: Any) -> bool:
        user = self.user
        if user is not None and not self.is_setup and not self.may_attempt(user.email or "", user):
            return False
        return bool(super().validate(**kwargs))


class RecoveryForm(Counted, MfRecoveryForm):
    """A recovery code; Flask-Security itself does not limit guesses."""

    def validate(self, **kwargs: Any) -> bool:
        if self.user is None or not self.may_attempt(self.user.email or "", self.user):
            return False
        valid = bool(super().validate(**kwargs))
        if not valid:
            self.user.track_failed_authn("code", True)
        return valid


def _with_public_links(body: str) -> str:
    """Return the text with links to ``OPSAPP_URL``, not to the host of the request."""
    url = current_app.config["OPSAPP_URL"]
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
            raise EmailValidateException(error.message) from error

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
        message = Message(kind, str(recipient), str(subject), _with_public_links(body or ""), about)
        outbox.keep([message], at_most_every=timedelta(0) if kind in NOTICES else REQUESTED_EVERY)
