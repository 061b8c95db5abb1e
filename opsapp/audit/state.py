"""The state that the events give, compared with the tables.

Both sides are facts: a subject such as ``user:3``, the name of a fact, and its value. They are
collected in a temporary SQLite file, so the memory does not grow with the events. The file has
fingerprints in place of addresses and secrets, and goes with the connection.

docs/decisions/audit.md#the-state-is-compared-as-facts
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .. import clock, text
from ..accounts.transfer.writing import IMPORT
from ..extensions import db
from ..models import ApiToken, Grant, PersonalValue, Role, User
from ..models.types import canonical_json
from ..unit.ledger import fingerprint
from .stored import CHUNK, is_token, parsed

Values = Mapping[str, Any]
Fact = tuple[str, str, str | None, str]
"""Subject, name, value (None: there is none), and the row that gives it, or an empty text."""

UNTOLD = "*"
"""The value that an event of an older version does not tell: any may be there."""
SECRET = frozenset({"e-mail", "username", "password", "two-factor seed", "recovery codes"})
"""The facts whose values are compared as fingerprints, and not shown."""
FACTORS = ("second factor", "two-factor seed", "recovery codes")

_SCHEMA = """
PRAGMA cache_size = -32000;
CREATE TABLE expected (
  subject TEXT, fact TEXT, value TEXT, seq INTEGER, PRIMARY KEY (subject, fact)
) WITHOUT ROWID;
CREATE TABLE actual (subject TEXT, fact TEXT, value TEXT, source TEXT);
"""
_SET = "INSERT OR REPLACE INTO expected VALUES (?, ?, ?, ?)"
_END = "UPDATE expected SET value = NULL, seq = ? WHERE subject = ? AND fact GLOB ?"
_DIFFERENCES = """
SELECT a.source, a.subject, a.fact, a.value, e.value, e.seq
FROM actual a LEFT JOIN expected e USING (subject, fact)
WHERE a.value IS NOT e.value AND e.value IS NOT ?
  AND (a.source <> '' OR a.fact = 'status'
       OR EXISTS (SELECT 1 FROM expected s WHERE s.subject = a.subject))
UNION ALL
SELECT '', e.subject, e.fact, NULL, e.value, e.seq
FROM expected e LEFT JOIN actual a USING (subject, fact)
WHERE e.value IS NOT NULL AND a.subject IS NULL AND e.fact NOT LIKE 'token %'
"""
# A row without any event is told once, by its status. A token that is gone gives nothing.


class State:
    """The facts of the events so far; :meth:`differences` compares them with the tables."""

    def __init__(self) -> None:
        self._facts = sqlite3.connect("")  # A private file, which no other process can open.
        self._facts.executescript(_SCHEMA)
        self._roles: dict[str, str] = {}
        """The reference of each role by its present name, which the events of grants use."""

    def follow(self, events: Iterable[Any], names: Mapping[str, PersonalValue]) -> None:
        """Take over what these events change.

        :param names: the personal values that they name, by token.
        """
        for row in events:
            effect = _EFFECTS.get(row.action)
            if effect is not None:
                before, after = parsed(row.before) or {}, parsed(row.after) or {}
                ids = () if row.action == IMPORT else after.get("ids", ())
                subjects = [f"user:{id}" for id in ids] or [row.subject]
                for subject in subjects:
                    effect(_Event(self._facts, self._roles, row.seq, subject, before, after, names))

    def differences(self) -> Iterator[str]:
        """Yield each difference between the events and the tables, in words."""
        for facts in (_roles(), _accounts(), _grants(), _tokens()):
            self._facts.executemany("INSERT INTO actual VALUES (?, ?, ?, ?)", facts)
        self._facts.execute("CREATE INDEX actual_key ON actual (subject, fact)")
        names = {reference: name for name, reference in self._roles.items()}
        for source, subject, fact, *values in self._facts.execute(_DIFFERENCES, (UNTOLD,)):
            yield _in_words(_label(source, subject, fact, names), fact, *values)

    def close(self) -> None:
        """Remove the temporary file."""
        self._facts.close()


# --- the events' side --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Event:
    """An event, as it is for one subject, and the facts that it changes."""

    facts: sqlite3.Connection
    roles: dict[str, str]
    seq: int
    subject: str
    before: Values
    after: Values
    names: Mapping[str, PersonalValue]

    def set(self, fact: str, value: str | None) -> None:
        self.facts.execute(_SET, (self.subject, fact, value, self.seq))

    def set_many(self, facts: Iterable[tuple[str, str, str | None]]) -> None:
        """Set facts of several subjects."""
        self.facts.executemany(_SET, ((*fact, self.seq) for fact in facts))

    def end(self, facts: str) -> None:
        """End the facts whose names match, as a shell's pattern does."""
        self.facts.execute(_END, (self.seq, self.subject, facts))

    def role(self, side: Values) -> str:
        name = str(side.get("role"))
        return self.roles.get(name, f"role {name}")

    def secret(self, *, present: bool = True) -> str | None:
        return self.after.get("fingerprint", UNTOLD) if present else None

    def name(self, key: str) -> str | None:
        value: Any = self.after.get(key)
        personal = self.names.get(value["personal"]) if is_token(value) else None
        # An erased name was true; the event of the erasure comes later.
        return fingerprint(personal.value) if personal else value and UNTOLD


def _create_account(event: _Event) -> None:
    event.set("status", "active")
    event.set("e-mail", event.name("email"))
    event.set("username", event.name("username"))
    event.set("password", event.secret(present=event.after.get("password") == "set"))
    event.set("confirmed", event.after.get("confirmed", UNTOLD))


def _import_accounts(event: _Event) -> None:
    """Take over the facts of a batch: lists in the order of its ids."""
    ids = event.after.get("ids", [])
    nothing = [None] * len(ids)
    inactive, unconfirmed = (set(event.after.get(name, ())) for name in _EXCEPTIONS)
    columns = (
        ("status", ["inactive" if id in inactive else "active" for id in ids]),
        ("e-mail", event.after.get("emails", nothing)),
        ("username", event.after.get("usernames", nothing)),
        ("password", event.after.get("passwords", nothing)),
        ("confirmed", [None if id in unconfirmed else "yes" for id in ids]),
    )
    for fact, values in columns:
        rows = zip(ids, values, strict=True)
        event.set_many((f"user:{id}", fact, value) for id, value in rows)
    for gift in event.after.get("roles", ()):
        role, end = event.role(gift), _until(gift.get("valid_until"))
        event.set_many((f"user:{id}", role, end) for id in gift["holders"])


_EXCEPTIONS = ("inactive", "unconfirmed")


def _update_account(event: _Event) -> None:
    for fact, key in (("e-mail", "email"), ("username", "username")):
        if key in event.after:
            event.set(fact, event.name(key))
    if "email" in event.after:
        event.end("token *")


def _delete_account(event: _Event) -> None:
    event.end("*")
    event.set("status", "deleted")


def _set_active(event: _Event) -> None:
    event.set("status", "active" if event.after.get("active") else "inactive")
    event.end("token *")


def _rehash_password(event: _Event) -> None:
    event.set("password", event.secret())


def _set_password(event: _Event) -> None:
    event.set("password", event.secret())
    event.end("token *")


def _confirm(event: _Event) -> None:
    event.set("confirmed", "yes")


def _set_factor(event: _Event) -> None:
    event.set("second factor", event.after.get("two_factor"))
    event.set("two-factor seed", event.secret())
    event.end("token *")


def _reset_factors(event: _Event) -> None:
    for fact in FACTORS:
        event.end(fact)
    event.end("token *")


def _set_codes(event: _Event) -> None:
    event.set("recovery codes", event.secret(present=event.after.get("recovery_codes") != 0))


def _create_token(event: _Event) -> None:
    scope, until = event.after.get("permissions"), event.after.get("valid_until")
    event.set(f"token {event.after.get('token')}", _token(event.secret(), scope, until))


def _revoke_token(event: _Event) -> None:
    event.set(f"token {event.before.get('token')}", None)


def _grant(event: _Event) -> None:
    event.set(event.role(event.after), _until(event.after.get("valid_until")))


def _expire(event: _Event) -> None:
    event.set(event.role(event.before), None)


def _revoke(event: _Event) -> None:
    _expire(event)
    event.end("token *")


def _create_role(event: _Event) -> None:
    event.set("status", "live")
    event.set("permissions", _listed(event.after.get("permissions", [])))
    _name_role(event)


def _update_role(event: _Event) -> None:
    if "name" in event.after:
        event.roles.pop(str(event.before.get("name")), None)
        _name_role(event)


def _name_role(event: _Event) -> None:
    name = str(event.after["name"])
    event.set("name", name)
    event.roles[name] = event.subject


def _allow(event: _Event) -> None:
    event.set("permissions", _listed(event.after.get("permissions", [])))


def _delete_role(event: _Event) -> None:
    event.set("status", "deleted")


_EFFECTS: dict[str, Callable[[_Event], None]] = {
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


# --- the tables' side --------------------------------------------------------


def _rows(query: sa.Select[*tuple[Any, ...]]) -> Iterator[Any]:
    return iter(db.ours.execute(query, execution_options={"yield_per": CHUNK}))


def _roles() -> Iterator[Fact]:
    for role in _rows(sa.select(Role.id, Role.name, Role.permissions, Role.deleted_at)):
        subject = f"role:{role.id}"
        yield subject, "status", "deleted" if role.deleted_at else "live", ""
        yield subject, "name", role.name, ""
        yield subject, "permissions", _listed(role.permissions), ""


def _accounts() -> Iterator[Fact]:
    columns = (
        User.id,
        User.active,
        User.deleted_at,
        User.confirmed_at,
        User.email,
        User.username,
        User.password,
        User.tf_primary_method,
        User.tf_totp_secret,
        User.mf_recovery_codes,
    )
    for user in _rows(sa.select(*columns)):
        codes = user.mf_recovery_codes
        facts = {
            "status": "active" if user.active else "deleted" if user.deleted_at else "inactive",
            "confirmed": "yes" if user.confirmed_at and not user.deleted_at else None,
            "e-mail": fingerprint(user.email),
            "username": fingerprint(user.username),
            "password": fingerprint(user.password),
            "second factor": user.tf_primary_method,
            "two-factor seed": fingerprint(user.tf_totp_secret),
            "recovery codes": fingerprint(canonical_json(codes)) if codes else None,
        }
        for fact, value in facts.items():
            yield f"user:{user.id}", fact, value, ""


def _grants() -> Iterator[Fact]:
    columns = (Grant.id, Grant.user_id, Grant.role_id, Grant.valid_until)
    for grant in _rows(sa.select(*columns).where(Grant.ended_at.is_(None))):
        until = grant.valid_until and clock.rfc3339(grant.valid_until)
        yield f"user:{grant.user_id}", f"role:{grant.role_id}", _until(until), f"grant {grant.id}"


def _tokens() -> Iterator[Fact]:
    """Yield the tokens that work, or did until their end."""
    columns = (
        *(ApiToken.id, ApiToken.user_id, ApiToken.name, ApiToken.key),
        *(ApiToken.permissions, ApiToken.valid_until),
    )
    query = sa.select(*columns).join(ApiToken.user)
    working = query.where(ApiToken.ended_at.is_(None), ApiToken.uniquifier == User.fs_uniquifier)
    for token in _rows(working):
        value = _token(fingerprint(token.key), token.permissions, clock.rfc3339(token.valid_until))
        yield f"user:{token.user_id}", f"token {token.name}", value, f"token {token.id}"


def _token(key: str | None, scope: list[str] | None, until: object) -> str:
    return UNTOLD if key == UNTOLD else f"{key} {canonical_json(scope)} {until}"


def _until(end: object) -> str:
    return f"until {end}" if end else "for ever"


def _listed(permissions: Any) -> str:
    return ", ".join(permissions) if isinstance(permissions, list) and permissions else "nothing"


# --- in words ----------------------------------------------------------------


def _label(source: str, subject: str, fact: str, roles: Mapping[str, str]) -> str:
    """Return what a fact is about: ``grant 82 (support to user 3)``, ``password of user 3``."""
    owner = subject.replace(":", " ")
    if fact == "status":
        return owner
    if fact.startswith("role"):
        gift = f"{roles.get(fact, fact.replace(':', ' '))} to {owner}"
        return f"{source} ({gift})" if source else gift
    return f"{source or fact} of {owner}"


def _in_words(
    label: str, fact: str, actual: str | None, expected: str | None, seq: int | None
) -> str:
    if seq is None:
        return f"{label}: no event gives it"
    if expected is None:
        return f"{label}: by event {seq} there is none"
    if fact in SECRET or fact.startswith("token "):
        return f"{label} is not the one of event {seq}"
    digest = text.shortened(actual) if actual else "none"
    return f"{label}: {digest}, but event {seq} says {text.shortened(expected)}"
