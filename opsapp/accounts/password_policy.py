"""The password policy: Flask-Security's, made safe against long passwords."""

from __future__ import annotations

from typing import Any

from flask_security.password_util import PasswordUtil
from flask_security.utils import password_length_validator

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
            return [f"Password must be at most {LONGEST} characters"], normal
        problems = password_length_validator(normal)
        if not problems:
            problems, _ = super().validate(normal[:LONGEST_JUDGED], is_register, **kwargs)
        return problems, normal
