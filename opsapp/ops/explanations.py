"""Explanations: why an account may act by a role or a permission, or why not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .. import clock, text
from ..extensions import db
from ..types import Record
from . import role_ends
from .grants import history, is_of, label_of
from .identity import Identity
from .roles import Rule
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
        if word in (name, label_of(identity, rule, name)) or word in rule.permissions(user, name)
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
    """Return that no role gives it, with the end of one that did, or the role that is meant."""
    past = (row for row in history(reference) if is_of(row, word) and row["action"] != "grant")
    if (row := next(past, None)) is not None:
        return f"{_lack(identity.roles, word, {word})}: {_end(row)}"
    pairs = [(rule, name) for rule in identity.roles for name in rule.names(db.session())]
    names = {name for pair in pairs for name in (pair[1], label_of(identity, *pair))}
    return _lack(identity.roles, word, names)


def _end(row: Record) -> str:
    """Return how, when and by whom a role was taken."""
    how = "expired" if row["action"] == "expire" else "was revoked"
    at = clock.rfc3339(row["at"].replace(microsecond=0))
    reason = f" ({row['reason']})" if row["reason"] else ""
    return f"{row['role']} {how} at {at} by {row['by']}{reason}"


def _lack(rules: Sequence[Rule], word: str, names: Collection[str]) -> str:
    """Return why an account without it has no such role or permission.

    :param names: the roles that there are, or were.
    """
    if not rules:
        return "opsapp knows no roles of this application; flask ops identity says how to name them"
    near = None if word in names else text.did_you_mean(word, names)
    if any(rule.has_permissions for rule in rules):
        because = "it holds no such role, and no role that gives it"
        return f"{because}: {near}" if near else because
    if word in names:
        return "it does not hold the role"
    unknown = f"no role is called {text.truncate(word)}, and opsapp knows no permissions here"
    return f"{unknown}: {near}" if near else f"{unknown}; flask ops roles list names the roles"


def _because(giving: list[str], live: list[str], is_inactive: bool) -> str:
    if not live:
        return f"the role {giving[0]} has ended, and flask ops roles expire has not run"
    return f"it holds {live[0]}" + (", but the account is inactive" if is_inactive else "")
