"""The password policy: Flask-Security's, safe against long passwords; and a list of stolen ones."""

from __future__ import annotations

from typing import Any

from flask import current_app
from flask_security.password_util import PasswordUtil

from .. import text
from . import breached

LONGEST = 128
"""The most characters of a password, as in Flask-Security."""
LONGEST_JUDGED = 72
"""The first characters, which zxcvbn rates; it refuses to read more."""


class Policy(PasswordUtil):
    """Flask-Security's policy, with a limit before anything slow."""

    def normalize(self, password: str) -> str:
        """Return the form that is hashed.

        A password that is too long is refused later. Normalizing it could block the
        process for seconds.
        """
        return password if len(password) > LONGEST else str(super().normalize(password))

    def validate(
        self, password: str, is_register: bool, **kwargs: Any
    ) -> tuple[list[str] | None, str]:
        """Return the problems of the password, or None, and its normal form."""
        normal = self.normalize(password)
        if len(normal) > LONGEST:  # Flask-Security would call it too short.
            return [f"A password must have at most {LONGEST} characters."], normal
        if breached.repeats_name(normal):
            return [breached.REPEATS_NAME], normal
        least = current_app.config["SECURITY_PASSWORD_LENGTH_MIN"]
        if len(normal) < least:
            return [f"A password must have at least {text.pluralize(least, 'character')}."], normal
        if breached.is_breached(normal):
            return [breached.IS_BREACHED], normal
        problems, _ = super().validate(normal[:LONGEST_JUDGED], is_register, **kwargs)
        return problems, normal
