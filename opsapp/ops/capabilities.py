"""Parts of an identity: what each is for, and how an application says it."""

from __future__ import annotations

from ..errors import Conflict

PARTS: dict[str, tuple[str, str, str]] = {
    "email": (
        "column with the e-mail address of an account",
        "email={model}.some_column",
        "no search and no lookup by address; users create only with --username",
    ),
    "username": (
        "column with the name of an account",
        "username={model}.some_column",
        "no lookup by name",
    ),
    "active": (
        "column that says whether an account is active",
        "active={model}.some_column",
        "no activate or deactivate; the status is unknown",
    ),
    "passwords": (
        "function that sets a password",
        "set_password=lambda user, word: …",
        "no set-password; users create only with --no-password",
    ),
    "roles": (
        "roles that opsapp can change",
        "roles=[Roles.relation({model}.some_relation, Role.name)]",
        "no grant, revoke or expire",
    ),
    "admin": (
        "condition that says which account administers",
        "admin={model}.some_column.is_(True)",
        "the last administrator is not kept",
    ),
    "end_sessions": (
        "function that ends the sessions of an account",
        "end_sessions=lambda user: …",
        "sessions end as the application itself ends them",
    ),
    "erase": (
        "function that deletes an account",
        "erase=lambda user: db.session.delete(user)",
        "no users delete",
    ),
    "created_at": (
        "column with the time when an account was created",
        "created_at={model}.some_column",
        "no --sort created",
    ),
    "last_seen_at": (
        "column with the time when an account was last seen",
        "last_seen_at={model}.some_column",
        "no --idle-for, no --sort seen",
    ),
}
"""Each part: its name in words, its argument, and the effect of its absence."""


def error(model: str, part: str) -> Conflict:
    """Return the error of a command that needs a part which the model does not have."""
    what, _argument, _effect = PARTS[part]
    return Conflict(f"{model} has no {what}", hint=hint(model, part))


def hint(model: str, part: str) -> str:
    """Return the line of the application that would add the part."""
    return f"Ops(app, db, {PARTS[part][1].format(model=model)})"
