"""The identity: the accounts of an application that was written without opsapp.

It knows the application's model, its columns and its functions, and asks nothing of them but
a key. Each part that is missing switches off what needs it; :meth:`Identity.need` says which
argument of ``Ops`` would switch it on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import orm as so

from .. import redaction, text
from ..errors import Conflict, NotFound
from ..extensions import db
from ..models import PersonalValue
from ..types import Record
from ..unit import chain
from ..unit.ledger import audit_key
from . import capabilities
from .attributes import Attribute, Model, Switch, columns, python_type, storage_of, with_storage
from .passwords import Passwords, transient_object
from .roles import Relation, Rule

LARGEST_KEY = 2**63 - 1
BY_NAME = "its name"
"""The source of a part that was guessed: an attribute that is called so."""

Key = int | UUID | str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The accounts of an application.

    :ivar model: the mapped class.
    :ivar key: the attribute of its primary key, and ``key_type`` its type in Python.
    :ivar active: tells whether an account is active.
    :ivar password: the column that holds a hash of the password.
    :ivar confirmed: the time at which the address was confirmed, if signing in needs that.
    :ivar admin: the condition that an account administers.
    :ivar sources: where each part comes from: ``Ops(email=…)``, ``Flask-Security``,
        ``AppBuilder`` or :data:`BY_NAME`.
    """

    model: Model
    key: Attribute
    key_type: type[Key]
    email: Attribute | None = None
    username: Attribute | None = None
    active: Switch | None = None
    password: Attribute | None = None
    confirmed: Attribute | None = None
    created_at: Attribute | None = None
    last_seen_at: Attribute | None = None
    roles: Sequence[Rule] = ()
    admin: sa.ColumnElement[bool] | None = None
    find_passwords: Callable[[], Passwords | None] = lambda: None
    end_sessions: Callable[[Any], object] | None = None
    load: Callable[[Any], Any] = lambda user: user
    """The function that a request asks for its account: the account itself, or None."""
    make: Callable[..., Any] | None = None
    """The function that makes an account from values; None calls the model."""
    normal_email: Callable[[str], str] = str
    """The function that returns an address as it is stored; raises ValueError for no address."""
    erase: Callable[[Any], object] | None = None
    """The function that deletes an account."""
    also_secret: frozenset[str] = frozenset()
    also_personal: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)
    watch: frozenset[str] | None = None

    # --- what it can -----------------------------------------------------------

    @cached_property
    def passwords(self) -> Passwords | None:
        """The functions for passwords; found when they are first needed, since a trial hashes."""
        return self.find_passwords()

    @property
    def capabilities(self) -> frozenset[str]:
        """The parts that are there: ``active``, ``passwords``, ``roles``, ``admin`` …"""
        parts = {name: getattr(self, name) for name in capabilities.PARTS}
        parts["roles"] = [rule for rule in self.roles if rule.read_only is None]
        return frozenset(
            name for name, part in parts.items() if part is not None and part != [] and part != ()
        )

    def need(self, part: str) -> Any:
        """Return the part.

        :raises Conflict: it is missing; the hint is the argument of ``Ops`` that would add it.
        """
        if part not in self.capabilities:
            raise capabilities.error(self.model.__name__, part)
        return getattr(self, part)

    @property
    def is_guessed(self) -> bool:
        """True if a part that changes an account was found by the name of an attribute only."""
        return any(
            BY_NAME in source and part not in ("created_at", "last_seen_at")
            for part, source in self.sources.items()
        )

    @property
    def is_opaque(self) -> bool:
        """True if the key itself is personal data, such as an address."""
        return self.key_type is str

    # --- references --------------------------------------------------------------

    def parse(self, reference: str) -> Key | None:
        """Return the key that ``reference`` writes, or None if it cannot be one."""
        if self.key_type is int:
            is_number = reference.isascii() and reference.isdigit() and len(reference) < 20
            return int(reference) if is_number and int(reference) <= LARGEST_KEY else None
        if self.key_type is UUID:
            try:
                return UUID(reference)
            except ValueError:
                return None
        return reference if reference.isprintable() else None

    def find(self, session: so.Session, reference: str) -> Any | None:
        """Return the account of this key, or else of this e-mail address or name, or None.

        An exact match comes before one in other letters.

        :raises Conflict: two accounts match.
        """
        user = self._by_key(session, self.parse(reference))
        if user is not None or not reference.isprintable():
            return user
        names = [part.column for part in (self.email, self.username) if part]
        # As text: a type of theirs may refuse to take what is not an address.
        exact = [sa.type_coerce(name, sa.String) == reference for name in names]
        folded = [lower(name) == text.canonical(reference) for name in names]
        for conditions in filter(None, (exact, folded)):
            rows = session.scalars(sa.select(self.model).where(sa.or_(*conditions)).limit(2)).all()
            if len(rows) > 1:
                raise Conflict(
                    f"two accounts match {text.truncate(reference)}", hint="name it by id"
                )
            if rows:
                return rows[0]
        return None

    def _by_key(self, session: so.Session, key: Key | None) -> Any | None:
        if key is None:
            return None
        try:
            return session.get(self.model, key)
        except exc.StatementError as error:
            if isinstance(error, exc.DBAPIError):
                raise
            return None  # The type of their column refuses it, so no account has it.

    def get(self, session: so.Session, reference: str) -> Any:
        """Return the account of :meth:`find`.

        :raises NotFound: there is none.
        :raises Conflict: two accounts match.
        """
        user = self.find(session, reference)
        if user is None:
            raise NotFound(
                f"no user {text.truncate(reference)}", hint="flask ops users list --search TEXT"
            )
        return user

    def subject(self, user: Any) -> str:
        """Return the name that the audit has for an account: ``user:42``.

        A key that is text may be an address, which the chain could not forget. It becomes
        ``user:~`` and a keyed token, which :meth:`name_record` resolves beside the chain.
        """
        return self.subject_of(self.key.of(user))

    def subject_of(self, key: Key) -> str:
        """Return the subject of the account with this key."""
        return f"user:~{self._token(str(key))}" if self.is_opaque else f"user:{key}"

    @staticmethod
    def _token(key: str) -> str:
        return chain.personal_token(audit_key(), "", key)

    def name_record(self, user: Any) -> Record | None:
        """Return the row beside the chain that an opaque subject stands for, or None."""
        if not self.is_opaque:
            return None
        key = str(self.key.of(user))
        return {
            "token": self._token(key),
            "subject": self.subject_of(key),
            "salt": "",
            "value": key,
        }

    def key_of(self, session: so.Session, subject: str) -> Key | None:
        """Return the key of a subject; None if it is no account's, or was erased."""
        word = subject.removeprefix("user:")
        if word.startswith("~"):
            query = sa.select(PersonalValue.value).where(PersonalValue.token == word[1:])
            key: str | None = db.beside(session).scalar(query)
            return key
        return self.parse(word)

    # --- reading -----------------------------------------------------------------

    def status(self, user: Any) -> str:
        """Return ``active``, ``inactive``, or ``unknown`` where no column tells."""
        if self.active is None:
            return "unknown"
        return "active" if self.active.of(user) else "inactive"

    def roles_of(self, user: Any) -> list[str]:
        """Return the names of the roles that an account holds, by every rule."""
        return sorted({name for rule in self.roles for name in rule.of(user)})

    def record(self, user: Any) -> Record:
        """Return the public form of an account, without its secrets."""
        return {
            "id": plain_key(self.key.of(user)),
            "email": _value(self.email, user),
            "username": _value(self.username, user),
            "status": self.status(user),
            "roles": self.roles_of(user),
            "created_at": _value(self.created_at, user),
            "last_seen_at": _value(self.last_seen_at, user),
        }

    def can_log_in(self) -> sa.ColumnElement[bool]:
        """Return the condition that an account is active and can sign in, as far as known."""
        conditions = [self.active.column.is_(True)] if self.active else []
        needed = filter(None, (self.password, self.confirmed))
        conditions += [attribute.column.is_not(None) for attribute in needed]
        return sa.and_(sa.true(), *conditions)

    def has_administrator(
        self, session: so.Session, *, without: Collection[Key] = ()
    ) -> bool | None:
        """Return whether an administrator can sign in; None where nothing says who administers.

        :param without: keys of accounts that do not count, since their role has an end.
        """
        if self.admin is None:
            return None
        query = sa.select(sa.literal(1)).select_from(self.model)
        query = query.where(self.admin, self.can_log_in())
        if without:
            query = query.where(self.key.column.not_in(without))
        return session.scalar(query.limit(1)) is not None

    # --- the audit ---------------------------------------------------------------

    @property
    def secret(self) -> frozenset[str]:
        """The attributes whose values are never written down."""
        names = {name for name, _column in columns(self.model) if redaction.is_secret_name(name)}
        names |= {self.password.name} if self.password else set()
        return with_storage(self.model, self.also_secret | names)

    @property
    def personal(self) -> frozenset[str]:
        """The attributes whose values the chain must be able to forget."""
        parts = [self.email, self.username, self.key if self.is_opaque else None]
        names = self.also_personal | {part.name for part in parts if part}
        return with_storage(self.model, names)

    @property
    def watched_names(self) -> frozenset[str]:
        """The attributes whose changes by the application's own code are audited."""
        if self.watch is not None:
            return with_storage(self.model, self.watch)
        parts = [self.email, self.username, self.password, *(rule.attribute for rule in self.roles)]
        names = with_storage(self.model, {part.name for part in parts if part})
        conditions = (None if self.active is None else self.active.column, self.admin)
        return names.union(*(storage_of(self.model, sql) for sql in conditions if sql is not None))

    @property
    def unseen_names(self) -> list[str]:
        """The attributes to be watched whose changes cannot be: no column tells of them."""
        names = {name for name in self.watched_names if not storage_of(self.model, name)}
        if self.active is not None and not storage_of(self.model, self.active.column):
            names.add(getattr(self.active, "name", str(self.active)))
        return sorted(names)

    # --- for whom it counts --------------------------------------------------------

    @cached_property
    def after_deactivation(self) -> str:
        """The end of the sessions of an account that is deactivated.

        ``ended``: a function ends them. ``refused at next request``: the application asks the
        account. ``may go on``: it does not, as far as is known.
        """
        if self.end_sessions is not None:
            return "ended"
        if self.active is None or self._lets_in(self.active):
            return "may go on"
        return "refused at next request"

    def _lets_in(self, active: Switch) -> bool:
        """Ask an inactive account that no session knows if its next request would be let in."""
        user = transient_object(self.model)
        try:
            active.set(user, False)
            return self.load(user) is not None and bool(getattr(user, "is_authenticated", True))
        except Exception:  # noqa: BLE001  (their code, on an object that is not theirs: nothing is known)
            return True

    @property
    def relations(self) -> list[Relation]:
        """The rules whose roles are rows of a table."""
        return [rule for rule in self.roles if isinstance(rule, Relation)]


def lower(name: Any) -> sa.ColumnElement[str]:
    """Return a column in small letters, as text, whatever type of theirs it has."""
    condition: sa.ColumnElement[str] = sa.func.lower(name, type_=sa.String())
    return condition


def _value(part: Attribute | None, user: Any) -> Any:
    value = None if part is None else part.of(user)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return value


def plain_key(key: Key) -> int | str:
    """Return a key as JSON has it."""
    return key if isinstance(key, int | str) else str(key)


def key_type(column: Any) -> type[Key]:
    """Return the type of a key; text where it is neither a number nor a UUID."""
    kind = python_type(column)
    return kind if kind in (int, UUID) else str
