"""The methods that Flask-Security needs of an account."""

from __future__ import annotations

from typing import Any, cast

from flask import g
from flask_security import UserMixin
from flask_security.totp import Totp

from ... import settings
from ...accounts import authority, logins
from ...models import User
from ..actor import client

POWERFUL = frozenset({"users:write", "roles:write", "roles:grant"})
"""An account with one of these can become an administrator, or make one."""


class SignsIn(UserMixin):
    """Methods of an account that only the web part needs."""

    def is_locked(self, form_error: list[str] | None = None) -> bool:
        """Return False: our forms check lockouts themselves, before the password."""
        return False

    def track_failed_authn(self, auth_type: str, tfa: bool = False) -> None:
        """Store that the password or the second factor was wrong."""
        logins.store_failure("code" if tfa else "password", self.email or "", self.id, client())

    def check_tf_required(
        self, tf_setup_methods: list[tuple[str, str]], tf_fresh: bool
    ) -> tuple[bool, list[tuple[str, str]]]:
        """Require the second factor of an account that has or must have one."""
        return bool(tf_setup_methods) or self.check_tf_required_setup(), tf_setup_methods

    def check_tf_required_setup(self) -> bool:
        """Return whether ``OPSAPP_TWO_FACTOR`` requires two factors of this account."""
        required: str = settings.get("OPSAPP_TWO_FACTOR")
        if required == "admins":
            permissions = authority.permissions_of(cast(User, self))
            return any(name in permissions for name in POWERFUL)
        return required != "optional"


class OneTimeTotp(Totp):
    """Codes of the authenticator app, each valid once.

    The codes of an app that is being paired are of another seed than the account's, so
    they are not compared with the last code of that one.
    """

    def verify_totp(self, token: str, totp_secret: str, user: Any, window: int = 0) -> bool:
        """Return whether the code is right and unused."""
        g.is_pairing = totp_secret != user.tf_totp_secret
        return bool(super().verify_totp(token, totp_secret, user, window))

    def get_last_counter(self, user: Any) -> int | None:
        """Return the time step of the last code of this seed that was accepted."""
        counter: int | None = None if g.is_pairing else user.tf_last_counter
        return counter

    def set_last_counter(self, user: Any, tmatch: Any) -> None:
        """Store the time step of a code; that of a new seed is stored together with the seed.

        :raises UsedTokenError: another request has used the code meanwhile.
        """
        from passlib.exc import UsedTokenError

        if g.is_pairing:
            g.paired_counter = tmatch.counter
        elif not logins.use_code(user.id, tmatch.counter):
            raise UsedTokenError(expire_time=tmatch.expire_time)


def add_methods() -> None:
    """Add these methods to the model.

    docs/decisions/web.md#the-model-learns-flask-securitys-methods-late
    """
    if not issubclass(User, SignsIn):
        User.__bases__ = (*User.__bases__, SignsIn)
