"""Explanations: why an account may act by a role or a permission, or why not."""

from __future__ import annotations

from collections.abc import Iterable

from .. import clock, text
from ..extensions import db
from ..types import Record
from . import role_ends
from .grants import history, is_of, label_of
from .identity import Identity
from .subjects import this_identity


def explain(reference: str, word: str) -> Record:
    """Return whether an account has a role, or a permission through one, and why.

    :raises NotFound: there is no such account.
    """
    identity, session = this_identity(), db.session()
    user = identity.get(session, reference)
    giving = [
        label_of(identity, rule, name)
        for rule in identity.roles
        for name in rule.of(user)
        if word in (name, label_of(identity, rule, name)) or word in rule.permissions(session, name)
    ]
    live = [role for role in giving if not role_ends.is_over(session, identity.subject(user), role)]
    is_inactive = identity.status(user) == "inactive"
    account = identity.record(user)
    return {
        "user": account["email"] or account["username"] or account["id"],
        "permission": word,
        "allowed": bool(live) and not is_inactive,
        "because": (
            _because(giving, live, is_inactive) if giving else _why_not(identity, reference, word)
        ),
    }


def _why_not(identity: Identity, reference: str, word: str) -> str:
    """Return that no role gives it, with the end of one that did, or the name that is meant."""
    past = (row for row in history(reference) if is_of(row, word) and row["action"] != "grant")
    if (row := next(past, None)) is not None:
        return f"it does not hold the role: {_end(row)}"
    if not identity.roles:
        return "opsapp knows no roles of this application; flask ops identity says how to name them"
    session = db.session()
    pairs = [(rule, name) for rule in identity.roles for name in rule.names(session)]
    names = {name for pair in pairs for name in (pair[1], label_of(identity, *pair))}
    if word in names:
        return "it does not hold the role"
    permissions = {
        label_of(identity, *pair): set(pair[0].permissions(session, pair[1])) for pair in pairs
    }
    if roles := [role for role in permissions if word in permissions[role]]:
        return f"it holds no role that gives it; {_list_names(roles)} would"
    return _unknown(identity, word, names.union(*permissions.values()))


def _list_names(names: list[str]) -> str:
    return " or ".join(names) if len(names) < 4 else f"{names[0]} or {len(names) - 1} others"


def _end(row: Record) -> str:
    """Return how, when and by whom a role was taken."""
    how = "expired" if row["action"] == "expire" else "was revoked"
    at = clock.rfc3339(row["at"].replace(microsecond=0))
    reason = f" ({row['reason']})" if row["reason"] else ""
    return f"{row['role']} {how} at {at} by {row['by']}{reason}"


def _unknown(identity: Identity, word: str, names: Iterable[str]) -> str:
    """Return that there is no such role or permission, and the name that is meant."""
    near = text.did_you_mean(word, names)
    unknown = f"no role is called {text.truncate(word)}, and opsapp knows no permissions here"
    if any(rule.has_permissions for rule in identity.roles):
        unknown = f"no role is called {text.truncate(word)}, and no role has such a permission"
    return f"{unknown}: {near}" if near else f"{unknown}; flask ops roles list names the roles"


def _because(giving: list[str], live: list[str], is_inactive: bool) -> str:
    if not live:
        until = "until flask ops roles expire runs"
        return f"the role {giving[0]} has ended, and the application itself has it {until}"
    return f"it holds {live[0]}" + (", but the account is inactive" if is_inactive else "")
