"""The accounts that events of the audit log are about, where they are an application's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import NotFound
from ..extensions import db, this_app
from ..models import AuditEvent, PendingEvent, PersonalValue
from ..state import attachment_of
from .changes import CREATE, DELETE

if TYPE_CHECKING:
    from .identity import Identity


@dataclass(frozen=True, slots=True)
class Directory:
    """Names and subjects of the accounts of an identity; of none where no model is known."""

    identity: Identity | None

    def subject(self, reference: str) -> str:
        """Return the subject of the account of this key, address or name, be it deleted.

        :raises NotFound: there is none, and the audit knows of none.
        """
        if self.identity is None:
            return f"user:{reference}"
        try:
            return self.identity.subject(self.identity.get(db.session(), reference))
        except NotFound:
            if (subject := self._past(self.identity, reference)) is None:
                raise
            return subject

    def names(self, subjects: Iterable[str]) -> dict[str, str]:
        """Return the present address, name or key of each subject that is there."""
        identity = self.identity
        if identity is None:
            return {}
        users = self._accounts(identity, subjects)
        return {identity.subject(user): _name(identity, user) for user in users}

    def begins(self, subjects: Iterable[str]) -> dict[str, int]:
        """Return the number of the first event of the account that has each subject's key now.

        A database may give the key of a deleted account to a new one, as SQLite does with the
        last one of a table. Subjects whose first event the audit does not have are left out.
        """
        return _begins(frozenset(subjects)) if self.identity is not None else {}

    @staticmethod
    def _past(identity: Identity, reference: str) -> str | None:
        """Return the subject that the audit has of an account which is not there."""
        if not attachment_of(this_app()).has_tables_by_now:
            return None
        key = identity.parse(reference)
        subjects = {f"user:{reference}"} | (set() if key is None else {identity.subject_of(key)})
        by_name = sa.select(PersonalValue.subject).where(PersonalValue.value == reference)
        for model in (AuditEvent, PendingEvent):
            is_about = model.subject.in_(subjects) | model.subject.in_(by_name)
            subject = db.ours.scalar(sa.select(model.subject).where(is_about).limit(1))
            if subject is not None:
                return str(subject)
        return None

    @staticmethod
    def _accounts(identity: Identity, subjects: Iterable[str]) -> Iterable[Any]:
        words = {word.removeprefix("user:") for word in subjects if word.startswith("user:")}
        if identity.is_opaque:
            tokens = [word[1:] for word in words if word.startswith("~")]
            # Before `flask ops init` nothing has a token, and there is no table of them.
            keys: list[Any] = [*db.ours.scalars(_KEYS, {"tokens": tokens})] if tokens else []
        else:
            keys = [key for word in words if (key := identity.parse(word)) is not None]
        if not keys:
            return []  # The table may lack a column, until the application's migrations ran.
        one_of = identity.key.column.in_(sa.bindparam("keys", expanding=True))
        return db.session.scalars(sa.select(identity.model).where(one_of), {"keys": keys}).all()


def _begins(subjects: frozenset[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for subject, action, last in db.ours.execute(_LIVES, {"subjects": list(subjects)}):
        first = last + 1 if action == DELETE else last
        numbers[subject] = max(first, numbers.get(subject, 0))
    return numbers


_LIVES = (
    sa.select(AuditEvent.subject, AuditEvent.action, sa.func.max(AuditEvent.seq))
    .where(AuditEvent.subject.in_(sa.bindparam("subjects", expanding=True)))
    .where(AuditEvent.action.in_((CREATE, DELETE)))
    .group_by(AuditEvent.subject, AuditEvent.action)
)

# A list in a statement is a cycle, which would keep each page's until collected.
_KEYS = sa.select(PersonalValue.value).where(
    PersonalValue.token.in_(sa.bindparam("tokens", expanding=True))
)


def _name(identity: Identity, user: Any) -> str:
    record = identity.record(user)
    return str(record["email"] or record["username"] or record["id"])
