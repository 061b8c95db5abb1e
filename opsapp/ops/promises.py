"""Promises: the guarantees that hold on this application, and those that are weaker here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import state
from ..extensions import this_app
from ..types import Record
from . import capabilities
from .attributes import condition_text
from .identity import Identity
from .roles import Flag
from .subjects import this_identity

HOLDS, WEAKER, OFF = "holds", "weaker", "off"


def parts() -> list[Record]:
    """Return each part of the identity with its value and its source, or what would add it.

    :raises Conflict: no model of accounts is found.
    """
    identity = this_identity()
    key = f"{identity.key} ({identity.key_type.__name__.lower()})"
    rows = [
        _part("model", f"{identity.model.__module__}.{identity.model.__qualname__}", identity),
        {"part": "key", "value": key, "source": "the mapper", "missing": None},
    ]
    return rows + [_part(name, _value(identity, name), identity) for name in capabilities.PARTS]


def _part(name: str, value: str | None, identity: Identity) -> Record:
    source = identity.sources.get(name) if value is not None else None
    part = getattr(identity, name)
    is_read_only = name in ("email", "username", "active") and part and not part.is_settable
    is_missing = (name in capabilities.PARTS and name not in identity.capabilities) or is_read_only
    way = capabilities.hint(identity.model.__name__, name) if is_missing else None
    value = f"{value}, which has no setter" if is_read_only else value
    return {"part": name, "value": value, "source": source, "missing": way}


def _value(identity: Identity, name: str) -> str | None:
    part: Any = getattr(identity, name)
    if name != "admin" and not part:
        return None
    match name:
        case "roles":
            return ", ".join(f"{rule.kind} {rule.attribute}" for rule in part)
        case "passwords":
            return str(part.source)
        case "admin":
            return None if part is None else _administrators(identity)
        case "end_sessions" | "erase":
            return str(getattr(part, "__qualname__", part))
    return str(part)


def _administrators(identity: Identity) -> str:
    if identity.sources.get("admin") == "Ops(admin=…)":
        assert identity.admin is not None  # noqa: S101  (its source says so)
        return condition_text(identity.model, identity.admin)
    rules = [rule for rule in identity.roles if rule.administers() is not None]
    flags = [str(rule.attribute) for rule in rules if isinstance(rule, Flag)]
    others = [str(rule.attribute) for rule in rules if not isinstance(rule, Flag)]
    words = ["admin, administrator or superuser in " + ", ".join(others)] if others else []
    return " or ".join([*flags, *words])


def promises() -> list[Record]:
    """Return each promise of opsapp with ``holds``, ``weaker`` or ``off``, and the reason.

    :raises Conflict: no model of accounts is found.
    """
    identity = this_identity()
    return [
        {"promise": promise, "state": how, "because": reason}
        for promise, how, reason in _promises(identity)
    ]


def _promises(identity: Identity) -> Iterator[tuple[str, str, str]]:
    yield "changes through flask ops are audited", *_audit_promise()
    yield "changes by the application's own code are audited", *_observer_promise(identity)
    yield "the last administrator is kept", *_administrator_promise(identity)
    yield "roles are granted and revoked", *_roles(identity)
    yield "a role with an end stops at its end", *_ends(identity)
    yield "deactivating ends sessions", *_deactivation(identity)
    passwords = identity.passwords.source if identity.passwords else None
    yield (
        "passwords are set by the application's own hash",
        *_if_there(identity, "passwords", because=passwords),
    )
    names = ", ".join(sorted(identity.personal)) or "no attribute"
    yield "the audit log can forget names", HOLDS, f"{names}: kept beside the chain as tokens"
    yield "idle accounts are listed", *_if_there(identity, "last_seen_at")
    because = "by the application's function, and beside the chain"
    yield "an account that is deleted is forgotten", *_if_there(identity, "erase", because=because)
    yield "lockouts, sessions and tokens are managed", OFF, "they are the application's own"


def _if_there(
    identity: Identity, part: str, how: str = HOLDS, because: str | None = None
) -> tuple[str, str]:
    """Return how far the promise of a part holds and why, or what would add the part."""
    if part in identity.capabilities:
        return how, because or str(getattr(identity, part))
    return OFF, capabilities.hint(identity.model.__name__, part)


def _is_apart() -> bool:
    return state.attachment_of(this_app()).own is not None


def _audit_promise() -> tuple[str, str]:
    if _is_apart():
        return WEAKER, "intended before it and done after it; a crash leaves it unsettled"
    return HOLDS, "in the transaction of the change"


def _observer_promise(identity: Identity) -> tuple[str, str]:
    if not state.attachment_of(this_app()).is_in_code:
        return OFF, "Ops(app, db) in the application's code"
    because = "observed, not refused; SQL as text and other programs are not seen"
    if _is_apart():
        because += "; written a second after the commit, which a crash prevents"
    if identity.unseen_names:
        because += f"; {', '.join(identity.unseen_names)}: no column is known to hold it"
    return WEAKER, because


def _administrator_promise(identity: Identity) -> tuple[str, str]:
    is_kept = state.attachment_of(this_app()).parts.get("keep_admin") == "refuse"
    if is_kept and _is_apart():
        how, because = WEAKER, "a page and a command may each take one of the last two"
    elif is_kept and identity.unseen_names:
        how, because = WEAKER, f"changes of {', '.join(identity.unseen_names)} are not seen"
    elif is_kept:
        how, because = HOLDS, "through flask ops, and against the application's own code"
    else:
        how, because = WEAKER, "through flask ops; the application's own code is not refused"
    return _if_there(identity, "admin", how, because)


def _roles(identity: Identity) -> tuple[str, str]:
    read_only = "; ".join(rule.read_only for rule in identity.roles if rule.read_only)
    if read_only and "roles" not in identity.capabilities:
        return OFF, read_only
    how = WEAKER if read_only else HOLDS
    return _if_there(identity, "roles", how, read_only or "as the application does it")


def _ends(identity: Identity) -> tuple[str, str]:
    if "roles" not in identity.capabilities:
        return OFF, "no role can be granted"
    return WEAKER, "when flask ops roles expire runs; ops.can() checks the end itself"


def _deactivation(identity: Identity) -> tuple[str, str]:
    after = identity.after_deactivation
    if identity.active is not None and not identity.active.is_settable:
        how, because = OFF, f"{identity.active} has no setter"
    elif after == "may go on":
        how, because = OFF, "sessions may go on: is_authenticated does not follow the column"
    else:
        how, because = HOLDS if after == "ended" else WEAKER, f"sessions are {after}"
    return _if_there(identity, "active", how, because)
