"""Passwords of an application: set and checked by its own functions, never by writing a column.

An application that hashes on assignment would hash our hash again, so opsapp tries
what an assignment does before it trusts one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import Flask

from ..accounts import breached
from ..errors import Invalid
from .attributes import Model, attribute_names

SHORTEST, LONGEST, LONGEST_JUDGED = 12, 128, 72
"""Characters of a password that our policy allows, and of those that zxcvbn rates."""
WEAKEST = 3
"""The least score of zxcvbn, out of 4: safe against an attacker without the hashes."""
TRIAL = "A-trial-of-opsapp-9X"

Setter = Callable[[Any, str], object]
Checker = Callable[[Any, str], object]


@dataclass(frozen=True, slots=True)
class Passwords:
    """The functions of the application.

    :ivar source: the name of the function that sets a password.
    :ivar prepare: takes the password and does the slow part that needs no account; returns
        the function that sets it.
    :ivar check: tells whether an account has this password; None where no function does.
    :ivar accepts: raises :exc:`Invalid` for a password that the policy refuses.
    """

    source: str
    prepare: Callable[[str], Callable[[Any], object]]
    check: Checker | None
    accepts: Callable[[str], None]


def by(setter: Setter, source: str, check: Checker | None) -> Passwords:
    """Return passwords that one function of an account and a password sets."""
    return Passwords(source, lambda word: lambda user: setter(user, word), check, accept)


def of_flask_security(app: Flask) -> Passwords:
    """Return Flask-Security's hash and policy; its datastore has the column ``password``.

    The operator who sets a password vouches for the address: it counts as confirmed.
    """
    from flask_security.utils import hash_password, verify_password

    def prepare(word: str) -> Callable[[Any], object]:
        hashed = hash_password(_normal(app, word))

        def store(user: Any) -> None:
            user.password = hashed
            if asks_confirmation(app) and user.confirmed_at is None:
                user.confirmed_at = app.config["SECURITY_DATETIME_FACTORY"]()

        return store

    def check(user: Any, word: str) -> bool:
        return bool(user.password and verify_password(_normal(app, word), user.password))

    def accepts(word: str) -> None:
        problems, _normal = _policy(app).validate(word, True)
        if problems:
            raise Invalid("password: " + " ".join(str(problem) for problem in problems))

    return Passwords("flask_security.hash_password", prepare, check, accepts)


def asks_confirmation(app: Flask) -> bool:
    """Return whether Flask-Security lets no account sign in before its address is confirmed."""
    is_optional = app.config.get("SECURITY_LOGIN_WITHOUT_CONFIRMATION")
    return bool(app.config.get("SECURITY_CONFIRMABLE")) and not is_optional


def _policy(app: Flask) -> Any:
    security = app.extensions["security"]
    return getattr(security, "password_util", None) or security._password_util  # noqa: SLF001  (Flask-Security below 5)


def _normal(app: Flask, word: str) -> str:
    return str(_policy(app).normalize(word))


def of_appbuilder(app: Flask) -> Passwords:
    """Return Werkzeug's hash, as Flask-AppBuilder calls it when it sets a password."""
    from werkzeug.security import check_password_hash, generate_password_hash

    def prepare(word: str) -> Callable[[Any], object]:
        hashed = generate_password_hash(
            word,
            method=app.config.get("FAB_PASSWORD_HASH_METHOD", "scrypt"),
            salt_length=app.config.get("FAB_PASSWORD_HASH_SALT_LENGTH", 16),
        )
        return lambda user: setattr(user, "password", hashed)

    def check(user: Any, word: str) -> bool:
        return bool(user.password and check_password_hash(user.password, word))

    return Passwords("werkzeug.security.generate_password_hash", prepare, check, accept)


def of_model(model: Model, check: Checker | None = None) -> Passwords | None:
    """Return the ``set_password()`` of a model, or an assignment that a trial shows to hash."""
    check = check or _checker(model)
    if callable(getattr(model, "set_password", None)):
        return by(
            lambda user, word: user.set_password(word), f"{model.__name__}.set_password()", check
        )
    for name in ("password", "passwd"):
        if _hashes(model, name):
            return by(_assign(name), f"{model.__name__}.{name} = …", check)
    return None


def _assign(name: str) -> Setter:
    return lambda user, word: setattr(user, name, word)


def _checker(model: Model) -> Checker | None:
    for name in ("check_password", "verify_password", "is_correct_password"):
        if callable(getattr(model, name, None)):
            return _call(name)
    return None


def _call(name: str) -> Checker:
    return lambda user, word: getattr(user, name)(word)


def _hashes(model: Model, name: str) -> bool:
    """Try on an object that no session knows if an assignment stores something else."""
    if name not in attribute_names(model) and not isinstance(getattr(model, name, None), property):
        return False
    user = transient_object(model)
    try:
        setattr(user, name, TRIAL)
    except Exception:  # noqa: BLE001  (their code, on an object that is not theirs: any error is a no)
        return False
    values = [value for value in sa.inspect(user).dict.values() if isinstance(value, str | bytes)]
    return bool(values) and not any(_is_readable(value) for value in values)


def _is_readable(value: str | bytes) -> bool:
    return (TRIAL.encode() if isinstance(value, bytes) else TRIAL) in value  # type: ignore[operator]


def transient_object(model: Model) -> Any:
    """Return an object of the model that no session knows, made without its ``__init__``."""
    return sa.inspect(model).class_manager.new_instance()


# --- every policy ----------------------------------------------------------------


def refuse_known(word: str) -> None:
    """Refuse what attackers try first, whatever the application's own policy says.

    :raises Invalid: it is the application's name, or in ``OPSAPP_BREACHED_PASSWORDS``.
    :raises NotReady: that file cannot be used.
    """
    if breached.repeats_name(word):
        raise Invalid(f"password: {breached.REPEATS_NAME}")
    if breached.is_breached(word):
        raise Invalid(f"password: {breached.IS_BREACHED}")


# --- our policy ----------------------------------------------------------------


def accept(word: str) -> None:
    """Accept a password that is long enough and, where zxcvbn is installed, not easy to guess.

    :raises Invalid: it is too short, too long, or easy to guess.
    """
    if not SHORTEST <= len(word) <= LONGEST:
        raise Invalid(f"a password must have {SHORTEST} to {LONGEST} characters")
    try:
        from zxcvbn import zxcvbn
    except ImportError:
        return
    rating = zxcvbn(word[:LONGEST_JUDGED])
    if rating["score"] < WEAKEST:
        advice = " ".join(rating["feedback"]["suggestions"])
        raise Invalid(f"password: it is easy to guess. {advice}".strip())
