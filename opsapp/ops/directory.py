"""The accounts that events of the audit are about, where they are an application's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..extensions import db
from ..models import PersonalValue

if TYPE_CHECKING:
    from .identity import Identity


@dataclass(frozen=True, slots=True)
class Directory:
    """Names and subjects of the accounts of an identity; of none where no model is known."""

    identity: Identity | None

    def subject(self, reference: str) -> str:
        """Return the subject of the account of this key, address or name.

        :raises NotFound: there is none.
        """
        if self.identity is None:
            return f"user:{reference}"
        return self.identity.subject(self.identity.get(db.session(), reference))

    def names(self, subjects: Iterable[str]) -> dict[str, str]:
        """Return the present address, name or key of each subject that is there."""
        identity = self.identity
        if identity is None:
            return {}
        users = self._accounts(identity, subjects)
        return {identity.subject(user): _name(identity, user) for user in users}

    @staticmethod
    def _accounts(identity: Identity, subjects: Iterable[str]) -> Iterable[Any]:
        words = {word.removeprefix("user:") for word in subjects if word.startswith("user:")}
        if identity.is_opaque:
            tokens = [word[1:] for word in words if word.startswith("~")]
            values = sa.select(PersonalValue.value).where(PersonalValue.token.in_(tokens))
            keys: list[Any] = list(db.ours.scalars(values))
        else:
            keys = [key for word in words if (key := identity.parse(word)) is not None]
        if not keys:
            return []  # The table may lack a column, until the application's migrations ran.
        return db.session.scalars(
            sa.select(identity.model).where(identity.key.column.in_(keys))
        ).all()


def _name(identity: Identity, user: Any) -> str:
    record = identity.record(user)
    return str(record["email"] or record["username"] or record["id"])
