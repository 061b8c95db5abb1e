"""Flask-Security's forms with the brake on: a try is counted before it is looked at."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, url_for
from flask_login import current_user
from flask_security.forms import (
    ChangePasswordForm,
    LoginForm,
    RequiredLocalize,
    TwoFactorVerifyCodeForm,
    VerifyForm,
)
from flask_security.mail_util import EmailValidateException, MailUtil
from flask_security.recovery_codes import MfRecoveryForm
from wtforms import StringField

from ... import addresses, clock
from ...accounts import logins, lookup
from ...errors import Invalid
from ...mail import outbox
from ...mail.outbox import Message
from ...models import User
from ..actor import client

TELLS = frozenset({"change_notice", "reset_notice"})
"""Mail that tells what has happened; all other mail can be asked for by anybody."""
ASKED_EVERY = timedelta(minutes=5)


class Braked:
    """A form that takes a turn before it compares a secret."""

    form_errors: list[str]
    user: Any

    def take_turn(self, identity: str, user: User | None) -> bool:
        """Whether this try may be looked at; if not, the form says until when."""
        until = logins.take_turn(identity, user.id if user else None, client())
        if until is None:
            return True
        minutes = math.ceil((until - clock.now()).total_seconds() / 60)
        self.form_errors.append(
            f"Too many attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}."
        )
        return False


class SignInForm(Braked, LoginForm):
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
        if not self.take_turn(typed, self.user):
            return False
        valid = bool(super().validate(**kwargs))
        if not valid and (outcome := self._outcome()):
            logins.failed(outcome, typed, self.user and self.user.id, client())
        return valid

    def _outcome(self) -> str | None:
        """Why nobody is signed in; None where that is written down already."""
        if self.user is None or not self.user_authenticated:
            return None
        return "unconfirmed" if self.requires_confirmation else "inactive"


class VerifyAgainForm(Braked, VerifyForm):
    """The password once more, before something that matters."""

    def validate(self, **kwargs: Any) -> bool:
        return _of_account(self, self.user, super().validate, **kwargs)


class ChangeForm(Braked, ChangePasswordForm):
    """The present password may not be guessed here either."""

    def validate(self, **kwargs: Any) -> bool:
        user = current_user._get_current_object()  # noqa: SLF001  (Flask documents this name)
        return _of_account(self, user, super().validate, **kwargs)


def _of_account(form: Braked, user: Any, validate: Any, **kwargs: Any) -> bool:
    """Validate a form of somebody who is signed in; the right password gives the turn back."""
    if not form.take_turn(user.email, user):
        return False
    valid = bool(validate(**kwargs))
    if valid:
        logins.forgive(user.id)
    return valid


class CodeForm(Braked, TwoFactorVerifyCodeForm):
    """A code of the authenticator app; the turns come back when somebody is signed in."""

    def validate(self, **kwargs: Any) -> bool:
        user = self.user
        if user is not None and not self.is_setup and not self.take_turn(user.email or "", user):
            return False
        return bool(super().validate(**kwargs))


class RecoveryForm(Braked, MfRecoveryForm):
    """A recovery code; Flask-Security itself would let them be guessed for ever."""

    def validate(self, **kwargs: Any) -> bool:
        if self.user is None or not self.take_turn(self.user.email or "", self.user):
            return False
        valid = bool(super().validate(**kwargs))
        if not valid:
            self.user.track_failed_authn("code", True)
        return valid


def _at_home(body: str) -> str:
    """The text with Flask-Security's links, which are of the host, port and scheme that
    were asked for, leading to ``OPSAPP_URL``."""
    url = current_app.config["OPSAPP_URL"]
    asked = urlsplit(url_for("account.show", _external=True))
    return body.replace(f"{asked.scheme}://{asked.netloc}/", f"{url}/") if url else body


class OutboxMail(MailUtil):
    """Addresses in our canonical form, and messages into the outbox."""

    def normalize(self, email: str) -> str:
        """The canonical form of an address that is looked up."""
        return self.validate(email)

    def validate(self, email: str) -> str:
        """The canonical form of an address.

        :raises EmailValidateException: it is none.
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
        """Keep the message; it is sent when the response is out."""
        user = kwargs.get("user")
        kind = str(template).rsplit("/", 1)[-1]
        user_id = user.id if user is not None else None
        message = Message(kind, str(recipient), str(subject), _at_home(body or ""), user_id)
        outbox.keep([message], at_most_every=timedelta(0) if kind in TELLS else ASKED_EVERY)
