"""The password policy: Flask-Security's, safe against long passwords; and a list of stolen ones."""

from __future__ import annotations

import unicodedata
from typing import Any

from flask import current_app
from flask_security.password_util import PasswordUtil
from flask_security.utils import password_length_validator

from .. import settings
from . import breached

LONGEST = 128
"""The most characters of a password, as in Flask-Security."""
LEAST_BESIDE_NAME = 8
"""The least letters and digits of a password beside the application's name."""
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
            return [f"A password has at most {LONGEST} characters."], normal
        if self._repeats_name(normal):
            return ["The application's name is no password, however often repeated."], normal
        problems = password_length_validator(normal)
        if not problems and self._is_breached(normal):
            return ["This password is in a list of stolen passwords."], normal
        if not problems:
            problems, _ = super().validate(normal[:LONGEST_JUDGED], is_register, **kwargs)
        return problems, normal

    @staticmethod
    def _is_breached(password: str) -> bool:
        file = settings.get("OPSAPP_BREACHED_PASSWORDS")
        return file is not None and breached.contains(file, password)

    @staticmethod
    def _repeats_name(password: str) -> bool:
        name, typed = _letters(str(current_app.config["APP_NAME"])), _letters(password)
        return bool(name) and name in typed and len(typed.replace(name, "")) < LEAST_BESIDE_NAME


def _letters(value: str) -> str:
    """Return the letters and digits alone: case, accents and separators do not matter."""
    apart = unicodedata.normalize("NFKD", value.casefold())
    return "".join(character for character in apart if character.isalnum())
