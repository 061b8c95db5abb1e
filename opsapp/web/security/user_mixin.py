"""What Flask-Security asks of an account: may it sign in, does it need a second factor."""

from __future__ import annotations

from typing import Any, cast

from flask import current_app
from flask_security import UserMixin
from flask_security.totp import Totp

from ...accounts import authority, logins
from ...models import User
from ..actor import client

POWERFUL = frozenset({"users:write", "roles:write", "roles:grant"})
"""Whoever holds one of these can become an administrator, or make one."""


class SignsIn(UserMixin):
    """The methods that an account has on the web floor, and needs nowhere else."""

    def is_locked(self, form_error: list[str] | None = None) -> bool:
        """Never, where Flask-Security asks: our forms ask before they look at a password."""
        return False

    def track_failed_authn(self, auth_type: str, tfa: bool = False) -> None:
        """Write down that the password or the second factor was wrong."""
        logins.failed("code" if tfa else "password", self.email or "", self.id, client())

    def check_tf_required(
        self, tf_setup_methods: list[tuple[str, str]], tf_fresh: bool
    ) -> tuple[bool, list[tuple[str, str]]]:
        """Who has a second factor uses it; who must have one sets it up first."""
        return bool(tf_setup_methods) or self.check_tf_required_setup(), tf_setup_methods

    def check_tf_required_setup(self) -> bool:
        """Whether ``OPSAPP_TWO_FACTOR`` asks this account for two factors."""
        match current_app.config["OPSAPP_TWO_FACTOR"]:
            case "everybody":
                return True
            case "admins":
                held = authority.permissions_of(cast(User, self))
                return any(permission in held for permission in POWERFUL)
        return False


class OneTimeTotp(Totp):
    """A code of the authenticator app is good once."""

    def get_last_counter(self, user: Any) -> int | None:
        """The time step of the last code that was accepted."""
        counter: int | None = user.tf_last_counter
        return counter

    def set_last_counter(self, user: Any, tmatch: Any) -> None:
        """Remember the step of this one.

        :raises UsedTokenError: another request has used the code meanwhile.
        """
        from passlib.exc import UsedTokenError

        if not logins.use_code(user.id, tmatch.counter):
            raise UsedTokenError(expire_time=tmatch.expire_time)


def teach() -> None:
    """Give accounts these methods. The models do without Flask-Security: it costs 0.3 s."""
    if not issubclass(User, SignsIn):
        User.__bases__ = (*User.__bases__, SignsIn)
