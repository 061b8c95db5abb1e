"""Promises: the parts of an identity as a list, and what holds on this application or is weaker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import state
from ..extensions import this_app
from ..types import Record
from . import missing
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
    return rows + [_part(name, _value(identity, name), identity) for name in missing.PARTS]


def _part(name: str, value: str | None, identity: Identity) -> Record:
    source = identity.sources.get(name) if value is not None else None
    is_missing = name in missing.PARTS and name not in identity.capabilities
    way = missing.hint(identity.model.__name__, name) if is_missing else None
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
        return str(identity.admin)
    rules = [rule for rule in identity.roles if rule.administers() is not None]
    flags = [str(rule.attribute) for rule in rules if isinstance(rule, Flag)]
    others = [str(rule.attribute) for rule in rules if not isinstance(rule, Flag)]
    called = ["admin, administrator or superuser in " + ", ".join(others)] if others else []
    return " or ".join([*flags, *called])


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
    yield _audited()
    yield _observed()
    yield _administrator_is_kept(identity)
    yield _roles(identity)
    yield _ends(identity)
    yield _deactivation(identity)
    yield _passwords(identity)
    yield _addresses(identity)
    yield "idle accounts are listed", *_if_there(identity, "last_seen_at")
    yield _deletion(identity)
    yield "lock-outs, sessions and tokens are managed", OFF, "they are the application's own"


def _if_there(identity: Identity, part: str) -> tuple[str, str]:
    if part in identity.capabilities:
        return HOLDS, str(getattr(identity, part))
    return OFF, missing.hint(identity.model.__name__, part)


def _audited() -> tuple[str, str, str]:
    promise = "changes through flask ops are audited"
    if not _is_apart():
        return promise, HOLDS, "in the transaction of the change"
    return promise, WEAKER, "intended before it and done after it; a crash leaves it unsettled"


def _is_apart() -> bool:
    return state.attached_to(this_app()).own is not None


def _observed() -> tuple[str, str, str]:
    promise = "changes by the application's own code are audited"
    if not state.attached_to(this_app()).is_in_code:
        return promise, OFF, "Ops(app, db) in the application's code"
    because = "observed, not refused; SQL as text and other programs are not seen"
    if _is_apart():
        because += "; written a second after the commit, which a crash prevents"
    return promise, WEAKER, because


def _administrator_is_kept(identity: Identity) -> tuple[str, str, str]:
    promise = "the last administrator is kept"
    if identity.admin is None:
        return promise, OFF, missing.hint(identity.model.__name__, "admin")
    if state.attached_to(this_app()).parts.get("keep_admin") == "refuse":
        if _is_apart():
            return promise, WEAKER, "a page and a command may each take one of the last two"
        return promise, HOLDS, "through flask ops, and against the application's own code"
    return promise, WEAKER, "through flask ops; the application's own code is not refused"


def _roles(identity: Identity) -> tuple[str, str, str]:
    promise = "roles are granted and revoked"
    read_only = [rule.read_only for rule in identity.roles if rule.read_only]
    if "roles" in identity.capabilities:
        return (
            promise,
            WEAKER if read_only else HOLDS,
            "; ".join(read_only) or "as the application does it",
        )
    return promise, OFF, "; ".join(read_only) or missing.hint(identity.model.__name__, "roles")


def _ends(identity: Identity) -> tuple[str, str, str]:
    promise = "a role with an end stops at its end"
    if "roles" not in identity.capabilities:
        return promise, OFF, "no role can be granted"
    return promise, WEAKER, "when flask ops roles expire runs; ops.can() heeds the end itself"


def _deactivation(identity: Identity) -> tuple[str, str, str]:
    promise = "deactivating ends sessions"
    if identity.active is None:
        return promise, OFF, missing.hint(identity.model.__name__, "active")
    after = identity.after_deactivation
    if after == "go on":
        return promise, OFF, "sessions go on: is_authenticated does not follow the column"
    return promise, HOLDS if after == "ended" else WEAKER, f"sessions are {after}"


def _passwords(identity: Identity) -> tuple[str, str, str]:
    promise = "passwords are set by the application's own hash"
    if identity.passwords is None:
        return promise, OFF, missing.hint(identity.model.__name__, "passwords")
    return promise, HOLDS, identity.passwords.source


def _deletion(identity: Identity) -> tuple[str, str, str]:
    promise = "an account that is deleted is forgotten"
    if identity.erase is None:
        return promise, OFF, missing.hint(identity.model.__name__, "erase")
    return promise, HOLDS, "by the application's function, and beside the chain"


def _addresses(identity: Identity) -> tuple[str, str, str]:
    names = ", ".join(sorted(identity.personal)) or "no attribute"
    return "the audit can forget names", HOLDS, f"{names}: kept beside the chain as tokens"
