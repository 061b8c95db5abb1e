"""Notices: receivers of signals that write mail about an account into the outbox.

They run before the commit, so a change and its mail are committed together or not at all.
Reasons: docs/decisions/mail.md#a-notice-is-in-the-transaction-of-its-change
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import sqlalchemy as sa
from flask import Flask, render_template

from .. import settings, signals, text
from ..actors import Actor
from ..errors import NotReady
from ..extensions import db
from ..models import ADMIN, Grant, Role, User
from . import outbox, smtputf8
from .outbox import Message


def connect(app: Flask) -> None:
    """Connect the notices of this application, unless ``OPSAPP_NOTICES`` is off.

    Mail that an operator asked for is no notice, and is always sent.
    """
    signals.address_entered.connect(smtputf8.refuse_undeliverable, app)
    signals.before_commit(signals.reset_requested).connect(send_reset, app)
    if settings.of(app, "OPSAPP_NOTICES"):
        for signal, receiver in (
            (signals.user_created, welcome),
            (signals.role_granted, tell_of_role),
            (signals.administrators_added, tell_administrators),
            (signals.user_email_changed, tell_of_address),
            (signals.second_factor_changed, tell_of_factor),
            (signals.recovery_codes_set, tell_of_codes),
            (signals.recovery_code_used, tell_of_used_code),
        ):
            signals.before_commit(signal).connect(receiver, app)


def welcome(app: Flask, *, user_id: int, invited: bool | None = None, **_extra: Any) -> None:
    """Welcome a new account; a registered one gets its confirmation link instead.

    :param invited: of an account from an import, whether the user is to be told.
    """
    if invited is False:
        return
    user = db.session.get_one(User, user_id)
    if user.email and user.confirmed_at:
        # An import may write thousands, which its command does not send.
        with outbox.defer_sending() if invited else nullcontext():
            send_welcome_mail(user)


def send_welcome_mail(user: User) -> None:
    """Tell a user of the new account, with the links to sign in or choose a password."""
    url = _url()
    _write(
        user,
        "welcome",
        "Welcome",
        url=url,
        reset_url=f"{url}/reset" if url else None,
        has_password=user.password is not None,
    )


def tell_of_role(
    app: Flask, *, user_id: int, grant_id: int, actor: Actor, many: bool = False, **_extra: Any
) -> None:
    """Tell a user of a role that was granted; not thousands at once of one command."""
    if many:
        return
    user = db.session.get_one(User, user_id)
    grant = db.session.get_one(Grant, grant_id)
    if user.email:
        _write(
            user,
            "role_granted",
            f"You hold the role {grant.role.name} now",
            role=grant.role.name,
            valid_until=grant.valid_until,
            granted_by=_who(actor),
        )


def tell_administrators(
    app: Flask, *, user_ids: Sequence[int], actor: Actor, **_extra: Any
) -> None:
    """Tell every other administrator of new ones, or of another end of one: a mail for all."""
    added = set(user_ids)
    address = db.session.get_one(User, user_ids[0]).email if len(added) == 1 else None
    others = sa.select(User).where(
        User.roles.any(Role.name == ADMIN),
        User.active.is_(True),
        User.email.is_not(None),
    )
    for other in db.session.scalars(others.order_by(User.id)):
        if other.id in added:
            continue
        # The subject stays when the new administrator is erased, so it has no name.
        _write(
            other,
            "admin_granted",
            "There is a new administrator" if address else "There are new administrators",
            administrators=address or text.pluralize(len(added), "account"),
            is_one=address is not None,
            granted_by=_who(actor),
        )


def send_reset(app: Flask, *, user_id: int, **_extra: Any) -> None:
    """Write a link to set a new password.

    :raises NotReady: no link can be made without ``OPSAPP_URL`` and the pages.
    """
    from flask_security.recoverable import generate_reset_link

    url = _url()
    if url is None:
        hint = "OPSAPP_URL=https://ops.example.com"
        raise NotReady("OPSAPP_URL is not set, so mail has no links", hint=hint)
    if "security.reset_password" not in app.view_functions:
        hint = "flask users send-reset USER"
        raise NotReady("this process has no pages to link to", hint=hint)
    user = db.session.get_one(User, user_id)
    with app.test_request_context(base_url=url):
        link, _token = generate_reset_link(user)  # type: ignore[no-untyped-call]
    subject = f"{_app_name()}: Set a new password"
    body = _render("reset_sent", user, link=link)
    outbox.put(Message("reset_instructions", user.email or "", subject, body, user.reference))


def _who(actor: Actor) -> str:
    """Return the name of the actor, without host and tools, which are internal."""
    if actor.kind != "user":
        return "An operator"
    user = db.session.get(User, int(actor.name.removeprefix("user:")))
    return user.email if user and user.email else "An administrator"


def tell_of_address(app: Flask, *, user_id: int, before: str, **_extra: Any) -> None:
    """Tell the old address that it was removed: a thief may have changed it."""
    user = db.session.get_one(User, user_id)
    _write(user, "email_changed", "Your address was changed", recipient=before)


def tell_of_factor(app: Flask, *, user_id: int, method: str | None, **_extra: Any) -> None:
    """Tell a user that the second factor was changed."""
    user = db.session.get_one(User, user_id)
    if user.email:
        subject = "Two-factor authentication was changed"
        _write(user, "factor_changed", subject, is_set=method is not None)


def tell_of_codes(app: Flask, *, user_id: int, **_extra: Any) -> None:
    """Tell a user that new recovery codes were made."""
    user = db.session.get_one(User, user_id)
    if user.email:
        _write(user, "codes_set", "New recovery codes were made")


def tell_of_used_code(app: Flask, *, user_id: int, codes_left: int, **_extra: Any) -> None:
    """Tell a user that a recovery code signed them in."""
    user = db.session.get_one(User, user_id)
    if user.email:
        _write(user, "code_used", "A recovery code was used", codes_left=codes_left)


def _write(
    user: User,
    kind: str,
    subject: str,
    *,
    recipient: str | None = None,
    **context: Any,
) -> None:
    body = _render(kind, user, **context)
    to = recipient or user.email or ""
    outbox.put(Message(kind, to, f"{_app_name()}: {subject}", body, user.reference))


def _render(kind: str, user: User, **context: Any) -> str:
    body = render_template(f"mail/{kind}.txt", user=user, app_name=_app_name(), **context)
    return text.safe_lines(body)


def _app_name() -> str:
    return str(settings.get("OPSAPP_NAME"))


def _url() -> str | None:
    url: str | None = settings.get("OPSAPP_URL")
    return url
