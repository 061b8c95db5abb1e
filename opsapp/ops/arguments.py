"""Arguments: whether a value that an application gives to ``Ops`` fits its argument.

A wrong argument is told by each command and in the server's log, and it stops no request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ..errors import Invalid
from .attributes import Model, attribute, storage_of
from .roles import Rule

FUNCTIONS = ("set_password", "check_password", "end_sessions", "create", "erase", "actor")
NAMES = ("watch", "secret", "personal", "protect")
CHOICES = {"observe": ("strict",), "keep_admin": ("warn", "refuse")}
RULES = "Roles.relation(…), .flag(…) or .word(…)"


def check(model: Model, parts: Mapping[str, Any]) -> None:
    """Check the arguments that are not columns by themselves; None leaves a part out.

    :param parts: the arguments of ``Ops``.
    :raises Invalid: one does not fit; names it.
    """
    for argument, value in parts.items():
        if value is not None and (checked := _CHECKS.get(argument)) is not None:
            checked(model, argument, value)


def _function(_model: Model, argument: str, value: Any) -> None:
    if not callable(value):
        raise Invalid(f"{argument}={value} is not a function")


def _choice(_model: Model, argument: str, value: Any) -> None:
    if value not in (choices := CHOICES[argument]):
        words = " or ".join(repr(choice) for choice in choices)
        raise Invalid(f"{argument}={value} is not {words}")


def _names(model: Model, argument: str, value: Any) -> None:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise Invalid(
            f"{argument}={value} is not a set of columns", hint=f'{argument}={{"email", "active"}}'
        )
    for name in value:
        column = attribute(model, name, argument)
        if argument == "protect" and not storage_of(model, column.name):
            raise Invalid(f"{argument}={column} cannot be protected: no column is known to hold it")


def _rules(model: Model, argument: str, value: Any) -> None:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise Invalid(f"{argument}={value} is not a list of rules", hint=f"[{RULES}]")
    for rule in value:
        if not isinstance(rule, Rule):
            raise Invalid(f"{argument}={rule!r} is not a rule", hint=RULES)
        attribute(model, rule.attribute.column, argument)


def _condition(_model: Model, argument: str, value: Any) -> None:
    try:
        sa.and_(sa.true(), value)
    except ArgumentError as error:
        raise Invalid(
            f"{argument}={value} is not an SQL condition",
            hint=f"{argument}=User.is_admin.is_(True)",
        ) from error


def _active(model: Model, argument: str, value: Any) -> None:
    if not isinstance(value, tuple):
        return
    if len(value) != 2 or not callable(value[1]):
        raise Invalid(
            f"{argument}=(…) is not a pair of a condition and a function",
            hint=f"{argument}=(User.disabled_at.is_(None), set_active)",
        )
    _condition(model, argument, value[0])


_CHECKS: dict[str, Callable[[Model, str, Any], None]] = {
    **dict.fromkeys(FUNCTIONS, _function),
    **dict.fromkeys(NAMES, _names),
    **dict.fromkeys(CHOICES, _choice),
    "roles": _rules,
    "admin": _condition,
    "active": _active,
}
