"""Passwords: one policy and one hash for every source, those of Flask-Security."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from ..errors import Invalid
from ..extensions import db, this_app
from ..models import Role, User

if TYPE_CHECKING:
    from flask_security.core import Security

GENERATED_BYTES = 18
"""144 random bits, 24 characters."""


def generate() -> str:
    """A new random password, safe in shells and easy to paste."""
    return secrets.token_urlsafe(GENERATED_BYTES)


def check(password: str) -> str:
    """``password``, if the policy accepts it.

    :raises Invalid: too short, too long, or easy to guess; says why.
    """
    _normal(password)
    return password


def hashed(password: str) -> str:
    """The argon2 hash of ``password``, if the policy accepts it. Takes about 0.1 s.

    Call it before the gate is taken: everybody else waits behind a unit.

    :raises Invalid: too short, too long, or easy to guess; says why.
    """
    from flask_security.utils import hash_password

    return str(hash_password(_normal(password)))


def _normal(password: str) -> str:
    """The password in the form that is hashed, once the policy has seen it."""
    problems, normal = _flask_security().password_util.validate(password, True)
    if problems:
        raise Invalid("password: " + " ".join(str(problem) for problem in problems))
    return normal


def matches(password: str, stored: str | None) -> bool:
    """Whether ``password`` is the one behind the hash ``stored``."""
    from flask_security.utils import verify_password

    if not stored:
        return False
    security = _flask_security()
    return bool(verify_password(security.password_util.normalize(password), stored))


def _flask_security() -> Security:
    """Flask-Security of the current app, started on first need: it costs 0.3 s to import."""
    app = this_app()
    if "security" not in app.extensions:
        from flask_security.core import Security
        from flask_security.datastore import SQLAlchemyUserDatastore

        from .password_policy import Policy

        # Hashing asks nothing of the models, so they need not be Flask-Security's.
        datastore = SQLAlchemyUserDatastore(db, User, Role)  # type: ignore[arg-type]
        Security(app, datastore, register_blueprint=False, password_util_cls=Policy)
    security: Security = app.extensions["security"]
    return security
