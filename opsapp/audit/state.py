"""The state that the events give, compared with the tables.

Both sides are facts: a subject such as ``user:3``, the name of a fact, and its value. Those of
the events are in a temporary SQLite file, which goes with its connection and has fingerprints in
place of addresses and secrets. Both sides are read in the order of their subjects, so the memory
grows neither with the events nor with the accounts.

docs/decisions/audit.md#the-state-is-compared-as-facts
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from .. import clock, text
from ..accounts.transfer.batches import IMPORT
from ..engine.scratch import Scratch
from ..extensions import db
from ..models import ApiToken, Grant, PersonalValue, Role, User
from ..models.types import canonical_json
from ..unit.ledger import fingerprint
from .replay import (
    EFFECTS,
    SCHEMA,
    UNTOLD,
    Event,
    Subject,
    end_of,
    join_permissions,
    subject_of,
    token_value,
)
from .stored import CHUNK, parse_column

SECRET = frozenset(
    {"e-mail", "username", "password", "two-factor seed", "recovery codes", "phone number"}
)
"""The facts whose values are not shown."""


class Fact(NamedTuple):
    """A fact of the tables, or of the events."""

    subject: Subject
    name: str
    value: str | None
    """None: there is none, by an event."""
    source: str = ""
    """The row that gives it, such as ``grant 82``, unless it is the subject's own."""
    seq: int | None = None
    """The event that says so; None is a fact of the tables."""


class State:
    """The facts of the events so far; :meth:`differences` compares them with the tables."""

    def __init__(self) -> None:
        self._facts = Scratch()
        self._facts.executescript(SCHEMA)
        self._roles: dict[str, str] = {}
        """The reference of each role by its present name, which the events of grants use."""

    def follow(self, events: Iterable[Any], names: Mapping[str, PersonalValue]) -> None:
        """Take over what these events change.

        :param names: the personal values that they name, by token.
        """
        for row in events:
            effect = EFFECTS.get(row.action)
            if effect is not None:
                before, after = parse_column(row.before) or {}, parse_column(row.after) or {}
                ids = () if row.action == IMPORT else after.get("ids", ())
                subjects = [("user", id) for id in ids] or [subject_of(row.subject)]
                for subject in subjects:
                    effect(Event(self._facts, self._roles, row.seq, subject, before, after, names))

    def differences(self) -> Iterator[str]:
        """Yield each difference between the events and the tables, in words."""
        names = {reference: name for name, reference in self._roles.items()}
        tables = (_roles(), _accounts(), _grants(), _tokens())
        facts = heapq.merge(*tables, self._expected_facts(), key=_SUBJECT)
        for _subject, group in groupby(facts, key=_SUBJECT):
            yield from _compare(list(group), names)

    def _expected_facts(self) -> Iterator[Fact]:
        rows = self._facts.execute(
            "SELECT kind, id, fact, value, seq FROM expected ORDER BY kind, id, fact"
        )
        for kind, id, name, value, seq in rows:
            yield Fact((kind, id), name, value, seq=seq)

    def close(self) -> None:
        """Remove the temporary file."""
        self._facts.close()


_SUBJECT = attrgetter("subject")


def _compare(facts: Iterable[Fact], roles: Mapping[str, str]) -> Iterator[str]:
    """Yield the differences of one subject."""
    actual = [fact for fact in facts if fact.seq is None]
    expected = {fact.name: fact for fact in facts if fact.seq is not None}
    for fact in actual:
        event = expected.get(fact.name)
        # A row without any event is told once, by its status.
        is_told = expected or fact.source or fact.name == "status"
        value = event and event.value
        if is_told and value not in (fact.value, UNTOLD):
            yield _in_words(fact, event, roles)
    present = {fact.name for fact in actual}
    for event in expected.values():
        # A token that is gone gives nothing.
        is_lost = event.name not in present and not event.name.startswith("token ")
        if is_lost and event.value not in (None, UNTOLD):
            yield _in_words(event._replace(value=None), event, roles)


# --- the tables' side --------------------------------------------------------


def _rows(query: sa.Select[*tuple[Any, ...]]) -> Iterator[Any]:
    return iter(db.ours.execute(query, execution_options={"yield_per": CHUNK}))


def _facts(kind: str, id: int, values: Mapping[str, str | None]) -> Iterator[Fact]:
    return (Fact((kind, id), name, value) for name, value in values.items() if value is not None)


def _roles() -> Iterator[Fact]:
    columns = (Role.id, Role.name, Role.permissions, Role.deleted_at, Role.description)
    for role in _rows(sa.select(*columns, Role.builtin).order_by(Role.id)):
        values = {
            "status": "deleted" if role.deleted_at else "live",
            "name": str(role.name),
            "permissions": join_permissions(role.permissions),
            "description": str(role.description),
            "built-in": "yes" if role.builtin else None,
        }
        yield from _facts("role", role.id, values)


def _accounts() -> Iterator[Fact]:
    columns = (
        *(User.id, User.active, User.deleted_at, User.confirmed_at, User.email, User.username),
        *(User.password, User.must_change_password, User.tf_primary_method, User.tf_totp_secret),
        *(User.tf_phone_number, User.mf_recovery_codes),
    )
    for user in _rows(sa.select(*columns).order_by(User.id)):
        codes = user.mf_recovery_codes
        values = {
            "status": _status(user),
            "confirmed": "yes" if user.confirmed_at and not user.deleted_at else None,
            "e-mail": fingerprint(user.email),
            "username": fingerprint(user.username),
            "password": fingerprint(user.password),
            "password change": _password_change(user),
            "second factor": user.tf_primary_method,
            "two-factor seed": fingerprint(user.tf_totp_secret),
            "recovery codes": fingerprint(canonical_json(codes)) if codes else None,
            "phone number": user.tf_phone_number,
        }
        yield from _facts("user", user.id, values)


def _status(user: Any) -> str:
    status = "active" if user.active else "inactive"
    if user.deleted_at:
        return "deleted and active" if user.active else "deleted"
    return status


def _password_change(user: Any) -> str | None:
    return "required" if user.must_change_password and not user.deleted_at else None


def _grants() -> Iterator[Fact]:
    columns = (Grant.id, Grant.user_id, Grant.role_id, Grant.valid_until)
    query = sa.select(*columns).where(Grant.ended_at.is_(None))
    for grant in _rows(query.order_by(Grant.user_id, Grant.id)):
        end = end_of(grant.valid_until and clock.rfc3339(grant.valid_until))
        yield Fact(("user", grant.user_id), f"role:{grant.role_id}", end, f"grant {grant.id}")


def _tokens() -> Iterator[Fact]:
    """Yield the tokens that work, or did until their end."""
    columns = (
        *(ApiToken.id, ApiToken.user_id, ApiToken.name, ApiToken.key),
        *(ApiToken.permissions, ApiToken.valid_until),
    )
    query = sa.select(*columns).join(ApiToken.user)
    working = query.where(ApiToken.ended_at.is_(None), ApiToken.uniquifier == User.fs_uniquifier)
    for token in _rows(working.order_by(ApiToken.user_id, ApiToken.id)):
        end = clock.rfc3339(token.valid_until)
        value = token_value(fingerprint(token.key), token.permissions, end)
        yield Fact(("user", token.user_id), f"token {token.name}", value, f"token {token.id}")


# --- in words ----------------------------------------------------------------


def _label(fact: Fact, roles: Mapping[str, str]) -> str:
    """Return what a fact is about: ``grant 82 (support to user 3)``, ``password of user 3``."""
    kind, id = fact.subject
    if fact.name == "status":
        return f"{kind} {id}"
    if fact.name.startswith("role"):
        gift = f"{roles.get(fact.name, fact.name.replace(':', ' '))} to {kind} {id}"
        return f"{fact.source} ({gift})" if fact.source else gift
    return f"{fact.source or fact.name} of {kind} {id}"


def _in_words(fact: Fact, event: Fact | None, roles: Mapping[str, str]) -> str:
    label = _label(fact, roles)
    if event is None:
        return f"{label}: no event gives it"
    if event.value is None:
        return f"{label}: by event {event.seq} there is none"
    if fact.name in SECRET or fact.name.startswith("token "):
        return f"{label} is not the one of event {event.seq}"
    value = text.truncate(fact.value) if fact.value else "none"
    return f"{label}: {value}, but event {event.seq} says {text.truncate(event.value)}"
