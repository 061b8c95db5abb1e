"""Passwords: Flask-Security's policy and hash, for every source of a password."""

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
    """Return a new random password, safe in shells and easy to paste."""
    return secrets.token_urlsafe(GENERATED_BYTES)


def check(password: str) -> str:
    """Return ``password`` if the policy accepts it.

    :raises Invalid: it is too short, too long, or easy to guess; says why.
    """
    _normal(password)
    return password


def hash_password(password: str) -> str:
    """Return the argon2 hash of ``password`` if the policy accepts it. Takes about 0.1 s.

    Call it before the gate is taken: every other unit waits for this one.

    :raises Invalid: it is too short, too long, or easy to guess; says why.
    """
    from flask_security.utils import hash_password as make_hash

    return str(make_hash(_normal(password)))


def _normal(password: str) -> str:
    """Return the form that is hashed, after the policy has accepted it."""
    problems, normal = _flask_security().password_util.validate(password, True)
    if problems:
        raise Invalid("password: " + " ".join(str(problem) for problem in problems))
    return normal


def start() -> None:
    """Start Flask-Security, before several threads hash at once."""
    _flask_security()


def matches(password: str, present: str | None) -> bool:
    """Return whether ``present`` is a hash of ``password``."""
    from flask_security.utils import verify_password

    if not present:
        return False
    security = _flask_security()
    return bool(verify_password(security.password_util.normalize(password), present))


def _flask_security() -> Security:
    """Return Flask-Security of the current app, started on first need.

    docs/decisions/accounts.md#flask-security-starts-at-the-first-password
    """
    app = this_app()
    if "security" not in app.extensions:
        from flask_security.core import Security
        from flask_security.datastore import SQLAlchemyUserDatastore

        from .password_policy import Policy

        # Hashing does not use the models, so they need not be Flask-Security's.
        datastore = SQLAlchemyUserDatastore(db, User, Role)  # type: ignore[arg-type]
        Security(app, datastore, register_blueprint=False, password_util_cls=Policy)
    security: Security = app.extensions["security"]
    return security
