"""The events replayed: the facts that each of them changes.

A fact is a subject such as ``user:3``, a name, and a value; :mod:`.state` compares them with
those of the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..accounts.transfer.batches import IMPORT
from ..models import ADMIN, PersonalValue
from ..models.types import canonical_json
from ..redaction import SET
from ..types import Fields
from ..unit.ledger import fingerprint
from .stored import is_token

Subject = tuple[str, int]
"""``user`` or ``role``, and its id."""

UNTOLD = "\0"
"""The value that an event of an older version does not tell: any may be there."""
FACTORS = ("second factor", "two-factor seed", "recovery codes")

SCHEMA = """
PRAGMA cache_size = -8000;
CREATE TABLE expected (
  kind TEXT, id INTEGER, fact TEXT, value TEXT, seq INTEGER, PRIMARY KEY (kind, id, fact)
) WITHOUT ROWID;
"""
"""The table of the facts; its cache of pages has a limit, so the memory has."""
_SET = "INSERT OR REPLACE INTO expected VALUES (?, ?, ?, ?, ?)"
_END = "UPDATE expected SET value = NULL, seq = ? WHERE kind = ? AND id = ? AND fact GLOB ?"


def subject_of(reference: str) -> Subject:
    """Return the kind and the id of an event's subject: ``user:3``."""
    kind, _, id = reference.partition(":")
    return (kind, int(id)) if id.isdecimal() else (reference, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """An event, as it is for one subject, and the facts that it changes."""

    facts: sqlite3.Connection
    roles: dict[str, str]
    seq: int
    subject: Subject
    before: Fields
    after: Fields
    names: Mapping[str, PersonalValue]

    def set(self, fact: str, value: str | None) -> None:
        self.facts.execute(_SET, (*self.subject, fact, value, self.seq))

    def set_each(self, fact: str, values: Iterable[tuple[int, str | None]]) -> None:
        """Set a fact of several accounts, by their ids."""
        rows = (("user", id, fact, value, self.seq) for id, value in values)
        self.facts.executemany(_SET, rows)

    def end(self, facts: str) -> None:
        """End the facts whose names match, as a shell's pattern does."""
        self.facts.execute(_END, (self.seq, *self.subject, facts))

    def role(self, side: Fields) -> str:
        name = str(side.get("role"))
        return self.roles.get(name, f"role {name}")

    def secret(self, *, present: bool = True) -> str | None:
        return self.after.get("fingerprint", UNTOLD) if present else None

    def name(self, key: str) -> str | None:
        value: Any = self.after.get(key)
        personal = self.names.get(value["personal"]) if is_token(value) else None
        # An erased name was true; the event of the erasure comes later.
        return fingerprint(personal.value) if personal else value and UNTOLD


def _create_account(event: Event) -> None:
    event.set("status", "active")
    event.set("e-mail", event.name("email"))
    event.set("username", event.name("username"))
    event.set("password", event.secret(present=event.after.get("password") == SET))
    event.set("confirmed", event.after.get("confirmed", UNTOLD))


def _import_accounts(event: Event) -> None:
    """Take over the facts of a batch: lists in the order of its ids."""
    ids = event.after.get("ids", [])
    blanks = [None] * len(ids)
    inactive, unconfirmed = (set(event.after.get(name, ())) for name in _EXCEPTIONS)
    columns = (
        ("status", ["inactive" if id in inactive else "active" for id in ids]),
        ("e-mail", event.after.get("emails", blanks)),
        ("username", event.after.get("usernames", blanks)),
        ("password", event.after.get("passwords", blanks)),
        ("confirmed", [None if id in unconfirmed else "yes" for id in ids]),
    )
    for fact, values in columns:
        event.set_each(fact, zip(ids, values, strict=True))
    for gift in event.after.get("roles", ()):
        end = end_of(gift.get("valid_until"))
        event.set_each(event.role(gift), ((id, end) for id in gift["holders"]))


_EXCEPTIONS = ("inactive", "unconfirmed")


def _update_account(event: Event) -> None:
    for fact, key in (("e-mail", "email"), ("username", "username")):
        if key in event.after:
            event.set(fact, event.name(key))
    if "email" in event.after:
        event.end("token *")


def _delete_account(event: Event) -> None:
    event.end("*")
    event.set("status", "deleted")


def _set_active(event: Event) -> None:
    event.set("status", "active" if event.after.get("active") else "inactive")
    event.end("token *")


def _rehash_password(event: Event) -> None:
    event.set("password", event.secret())


def _set_password(event: Event) -> None:
    event.set("password", event.secret())
    event.set("password change", "required" if event.after.get("must_change") else None)
    event.end("token *")


def _confirm(event: Event) -> None:
    event.set("confirmed", "yes")


def _set_factor(event: Event) -> None:
    event.set("second factor", event.after.get("two_factor"))
    event.set("two-factor seed", event.secret())
    event.end("token *")


def _reset_factors(event: Event) -> None:
    for fact in FACTORS:
        event.end(fact)
    event.end("token *")


def _set_codes(event: Event) -> None:
    event.set("recovery codes", event.secret(present=event.after.get("recovery_codes") != 0))


def _create_token(event: Event) -> None:
    scope, until = event.after.get("permissions"), event.after.get("valid_until")
    event.set(f"token {event.after.get('token')}", token_value(event.secret(), scope, until))


def _revoke_token(event: Event) -> None:
    event.set(f"token {event.before.get('token')}", None)


def _grant(event: Event) -> None:
    event.set(event.role(event.after), end_of(event.after.get("valid_until")))


def _expire(event: Event) -> None:
    event.set(event.role(event.before), None)


def _revoke(event: Event) -> None:
    _expire(event)
    event.end("token *")


def _create_role(event: Event) -> None:
    event.set("status", "live")
    event.set("permissions", join_permissions(event.after.get("permissions", [])))
    event.set("description", event.after.get("description", UNTOLD))
    # No role can take the built-in one's name, and that one never loses it.
    event.set("built-in", "yes" if event.after.get("name") == ADMIN else None)
    _name_role(event)


def _update_role(event: Event) -> None:
    if "name" in event.after:
        event.roles.pop(str(event.before.get("name")), None)
        _name_role(event)
    if "description" in event.after:
        event.set("description", event.after["description"])


def _name_role(event: Event) -> None:
    name = str(event.after["name"])
    event.set("name", name)
    event.roles[name] = f"role:{event.subject[1]}"


def _allow(event: Event) -> None:
    event.set("permissions", join_permissions(event.after.get("permissions", [])))


def _delete_role(event: Event) -> None:
    event.set("status", "deleted")


EFFECTS: dict[str, Callable[[Event], None]] = {
    "user:account:create": _create_account,
    IMPORT: _import_accounts,
    "user:account:update": _update_account,
    "user:account:delete": _delete_account,
    "user:account:activate": _set_active,
    "user:account:deactivate": _set_active,
    "user:password:set": _set_password,
    "user:password:rehash": _rehash_password,
    "user:email:confirm": _confirm,
    "user:factor:set": _set_factor,
    "user:factor:remove": _reset_factors,
    "user:access:reset": _reset_factors,
    "user:codes:set": _set_codes,
    "user:codes:use": _set_codes,
    "user:token:create": _create_token,
    "user:token:revoke": _revoke_token,
    "user:role:grant": _grant,
    "user:role:revoke": _revoke,
    "user:role:expire": _expire,
    "role:definition:create": _create_role,
    "role:definition:update": _update_role,
    "role:definition:delete": _delete_role,
    "role:permissions:update": _allow,
}
"""The change that each event makes; all others change nothing that is compared."""


# --- values ------------------------------------------------------------------


def token_value(key: str | None, scope: list[str] | None, until: object) -> str:
    return UNTOLD if key == UNTOLD else f"{key} {canonical_json(scope)} {until}"


def end_of(end: object) -> str:
    return f"until {end}" if end else "forever"


def join_permissions(permissions: Any) -> str:
    return ", ".join(permissions) if isinstance(permissions, list) and permissions else "nothing"
