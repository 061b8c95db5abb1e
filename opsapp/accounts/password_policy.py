"""The password policy, as both starts of Flask-Security use it. Imported on first need."""

from __future__ import annotations

from typing import Any

from flask_security.password_util import PasswordUtil
from flask_security.utils import password_length_validator

LONGEST = 128
"""Characters of a password, Flask-Security's limit."""
LONGEST_JUDGED = 72
"""Characters of which zxcvbn judges how hard they are to guess; it refuses to read more."""


class Policy(PasswordUtil):
    """Flask-Security's policy, that a long password does not break."""

    def normalize(self, password: str) -> str:
        """The form in which it is hashed. What is too long is none anyway, and left alone:
        making it normal can take seconds, in which the whole process stands still."""
        return password if len(password) > LONGEST else str(super().normalize(password))

    def validate(
        self, password: str, is_register: bool, **kwargs: Any
    ) -> tuple[list[str] | None, str]:
        """What is wrong with the password, if anything, and its normal form, which is hashed."""
        normal = self.normalize(password)
        if len(normal) > LONGEST:  # The library says of these too that they are too short.
            return [f"Password must be at most {LONGEST} characters"], normal
        problems = password_length_validator(normal)
        if not problems:
            problems, _ = super().validate(normal[:LONGEST_JUDGED], is_register, **kwargs)
        return problems, normal
