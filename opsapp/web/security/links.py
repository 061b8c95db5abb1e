"""The pages on which a stranger requests a link by mail: to register, or for a new password.

They do the same work for every address, and a mail that a stranger can cause never changes
an account that is in use.

docs/decisions/web.md#the-reader-of-the-mail-chooses-the-password
"""

from __future__ import annotations

from typing import Any

from flask import Flask, flash, redirect, render_template, request, url_for
from flask_login import current_user
from flask_security.recoverable import generate_reset_link
from flask_security.utils import get_message, send_mail
from flask_wtf import FlaskForm
from wtforms import EmailField, ValidationError

from ... import addresses, settings, text
from ...accounts import lookup, users
from ...errors import Invalid
from ...models import User
from ..actor import unit_of_self
from . import stale


class AddressForm(FlaskForm):
    """An e-mail address."""

    email = EmailField("E-mail address")

    def __init__(self) -> None:
        super().__init__()
        if request.method == "GET":
            self.email.data = stale.typed_address()

    def validate_email(self, field: EmailField) -> None:
        """Bring the address into its canonical form."""
        try:
            field.data = addresses.clean(field.data or "")
        except Invalid as error:
            raise ValidationError(text.sentence(error.message)) from error


def init_app(app: Flask) -> None:
    """Serve these pages in place of Flask-Security's."""
    app.view_functions["security.forgot_password"] = forgot_password
    if app.config["SECURITY_REGISTERABLE"]:
        app.view_functions["security.register"] = register


def forgot_password() -> Any:
    """Mail a link to set a new password, if there is such an account."""
    form = AddressForm()
    if form.validate_on_submit():
        user = lookup.find_user(str(form.email.data))
        if user is not None and user.active:
            _send_link(user, "Set a new password", "reset_instructions")
        flash(*get_message("PASSWORD_RESET_REQUEST", email=form.email.data))
    elif request.method == "GET" and current_user.is_authenticated:
        form.email.data = form.email.data or text.safe_value(current_user.email)
    return render_template("security/forgot_password.html", form=form)


def register() -> Any:
    """Create an account without a password, and mail the link to choose one."""
    if current_user.is_authenticated:
        return redirect(url_for("account.show"))
    form = AddressForm()
    if not form.validate_on_submit():
        return render_template("security/register_user.html", form=form)
    unit = unit_of_self(None, reason="registration")
    try:
        user = users.register(str(form.email.data), unit=unit)
    except Invalid as error:
        form.email.errors = [text.sentence(error.message)]
        return render_template("security/register_user.html", form=form)
    _answer_by_mail(user)
    flash(*get_message("CONFIRM_REGISTRATION", email=form.email.data))
    return redirect(url_for("security.login"))


def _answer_by_mail(user: User) -> None:
    if user.confirmed_at:
        _send(user, "You have an account already", "already_registered")
    elif user.active:
        _send_link(user, "Choose a password", "choose_password")


def _send_link(user: User, subject: str, template: str) -> None:
    link, _token = generate_reset_link(user)  # type: ignore[no-untyped-call]
    _send(user, subject, template, link=link)


def _send(user: User, subject: str, template: str, **context: Any) -> None:
    title = f"{settings.get('OPSAPP_NAME')}: {subject}"
    send_mail(title, user.email or "", f"security/email/{template}", user=user, **context)
