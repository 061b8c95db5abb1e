"""Accounts of an application: created and changed through its own model and functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import signals, text
from ..engine.rows import remove
from ..errors import Busy, Conflict, Invalid
from ..extensions import db
from ..models import PersonalValue, RoleEnd
from ..redaction import SET
from ..types import Record
from ..unit.receipts import Receipt
from ..unit.work import Unit
from . import administrators, fields, grants, subjects
from .attributes import Attribute
from .identity import Identity, plain_key
from .passwords import refuse_known
from .subjects import changing, this_identity

# --- creating ----------------------------------------------------------------


def create(
    email: str | None,
    *,
    username: str | None = None,
    password: str | None = None,
    role: str | None = None,
    values: Mapping[str, str] | None = None,
    if_exists: str = "error",
    unit: Unit,
) -> Record:
    """Create an account by the application's own model.

    :param password: None makes an account that cannot sign in yet.
    :param values: other attributes by name; those that the model needs must be there.
    :param if_exists: ``error``, or ``keep`` an account that is active and holds the role.
    :raises Conflict: the address or the name is taken, or the account to keep differs.
    :raises Invalid: an attribute is missing, unknown, or not of its type.
    """
    identity = this_identity()
    set_word = _prepare_password(identity, password)
    with changing(unit) as identity:
        user = _find_existing(identity, unit.session, email, username, if_exists)
        if user is None:
            user = _insert(identity, email, username, set_word, values or {}, unit)
            if role:
                grants.give(identity, role, user, unit)
        else:
            _refuse_unlike(identity, user, role, unit)
        return identity.record(user)


def _refuse_unlike(identity: Identity, user: Any, role: str | None, unit: Unit) -> None:
    """Refuse to keep an account that does not meet the request.

    :raises Conflict: says the first difference.
    """
    key = plain_key(identity.key.of(user))
    if identity.status(user) == "inactive":
        hint = f"flask ops users activate {key}"
        raise Conflict(f"user {key} exists and is inactive", hint=hint)
    if role and not grants.is_held(identity, role, user, unit):
        hint = f"flask ops roles grant {role} {key}"
        raise Conflict(f"user {key} exists and does not hold {role}", hint=hint)


def _prepare_password(identity: Identity, password: str | None) -> Any:
    """Do the slow part of setting a password before the gate, where others would wait for it."""
    if password is None:
        return None
    passwords = identity.need("passwords")
    passwords.accepts(password)
    refuse_known(password)
    return passwords.prepare(password)


def check_password(password: str) -> str:
    """Return a password that the policy accepts.

    :raises Conflict: no function sets a password.
    :raises Invalid: the policy refuses it.
    """
    passwords = this_identity().need("passwords")
    passwords.accepts(password)
    refuse_known(password)
    return password


def _find_existing(
    identity: Identity,
    session: so.Session,
    email: str | None,
    username: str | None,
    if_exists: str,
) -> Any:
    for name in filter(None, (email, username)):
        user = identity.find(session, name)
        if user is None:
            continue
        if if_exists != "error":
            return user
        key = plain_key(identity.key.of(user))
        raise Conflict(f"user {text.safe(name)} exists already", hint=f"flask ops users show {key}")
    return None


def _insert(
    identity: Identity,
    email: str | None,
    username: str | None,
    set_word: Any,
    values: Mapping[str, str],
    unit: Unit,
) -> Any:
    attributes = {
        name: fields.convert_value(identity, name, value) for name, value in values.items()
    }
    attributes |= fields.names(identity, email, username)
    user = fields.make_object(identity, attributes, has_password=set_word is not None)
    if set_word is not None:
        with fields.own_function("set_password"):
            set_word(user)
    fields.activate(identity, user)
    unit.session.add(user)
    fields.flush(identity, unit.session)
    fields.fulfil(identity, user, values, unit.session)
    after = {**_names(identity, user, unit), "password": SET if set_word else None}
    if values:
        after["set"] = ", ".join(sorted(values))
    subjects.record(unit, identity, user, "user:account:create", after=after)
    unit.announce(signals.user_created, user_id=plain_key(identity.key.of(user)))
    return user


def _names(identity: Identity, user: Any, unit: Unit) -> Record:
    """Return the names of an account as the database has them: setters and types change them."""
    parts = {"email": identity.email, "username": identity.username}
    columns = {name: part.column.label(name) for name, part in parts.items() if part}
    is_user = identity.key.column == identity.key.of(user)
    row = unit.session.execute(sa.select(sa.null(), *columns.values()).where(is_user)).one()
    return {"email": None, "username": None, **dict(zip(columns, row[1:], strict=True))}


def create_admin(
    email: str | None,
    *,
    username: str | None = None,
    password: str | None = None,
    values: Mapping[str, str] | None = None,
    if_exists: str = "error",
    unit: Unit,
) -> Record:
    """Create an account that is active and holds the role of an administrator.

    :param if_exists: ``error``; ``keep`` an account that is one; ``update`` makes the account
        of this name one, and sets its password only if it has none.
    :raises Conflict: nothing says who administers, or the address is taken.
    """
    identity = this_identity()
    identity.need("admin")
    set_word = _prepare_password(identity, password)
    with changing(unit) as identity:
        role = administrators.role(identity, unit.session)
        user = _find_existing(identity, unit.session, email, username, if_exists)
        if user is None:
            user = _insert(identity, email, username, set_word, values or {}, unit)
            _make_able(identity, user, None, unit)
        elif if_exists == "keep":
            _refuse_unlike(identity, user, role, unit)
        else:
            _make_able(identity, user, set_word, unit)
        grants.give(identity, role, user, unit)
        return identity.record(user)


def _make_able(identity: Identity, user: Any, set_word: Any, unit: Unit) -> None:
    if identity.active is not None:
        _switch(identity, user, True, unit)
    if set_word is not None and not has_password(identity, user):
        _store(identity, user, set_word, unit)


def has_password(identity: Identity, user: Any) -> bool:
    """Return whether an account has a password, as far as a column tells."""
    return identity.password is not None and bool(identity.password.of(user))


def needs_password(name: str | None, if_exists: str) -> bool:
    """Return whether :func:`create` or :func:`create_admin` would use a password.

    :param name: the address or the username.
    """
    identity = this_identity()
    user = identity.find(db.session(), name) if name else None
    return user is None or (if_exists == "update" and not has_password(identity, user))


# --- changing ----------------------------------------------------------------


def update(
    reference: str,
    *,
    email: str | None = None,
    username: str | None = None,
    values: Mapping[str, str] | None = None,
    unit: Unit,
) -> Record:
    """Change the names and other attributes of an account.

    :raises Conflict: another account has the name, or the address is the key.
    :raises Invalid: an attribute is unknown, or its value is not of its type.
    """
    with changing(unit) as identity:
        user = identity.get(unit.session, reference)
        names = {"email": email, "username": username}
        for part, value in names.items():
            if value is not None:
                _rename(identity, user, part, value, unit)
        _set_values(identity, user, values or {}, unit)
        return identity.record(user)


def _rename(identity: Identity, user: Any, part: str, value: str, unit: Unit) -> None:
    attribute, value = identity.need(part), fields.clean(identity, part, value)
    before = attribute.of(user)
    if before == value:
        return
    if attribute.name == identity.key.name or before == identity.key.of(user):
        raise Conflict(f"the {part} is the key of {identity.model.__name__}, which never changes")
    holder = identity.find(unit.session, value)
    if holder is not None and holder is not user:
        raise Conflict(f"{part} {value} is taken by user {plain_key(identity.key.of(holder))}")
    _change(identity, user, attribute.name, value, unit)
    if (after := _names(identity, user, unit)[part]) == before:
        return
    action = "user:account:update"
    subjects.record(unit, identity, user, action, before={part: before}, after={part: after})
    unit.announce(signals.user_updated, user_id=plain_key(identity.key.of(user)))


def _set_values(identity: Identity, user: Any, values: Mapping[str, str], unit: Unit) -> None:
    guarded = fields.own_options(identity)
    for name, value in values.items():
        if name in guarded:
            raise Invalid(f"--set {name} has an option or command of its own", hint=guarded[name])
        new = fields.convert_value(identity, name, value)
        if getattr(user, name) == new:
            continue
        _change(identity, user, name, new, unit)
        # The values of other attributes may be personal data: the audit keeps their names.
        subjects.record(unit, identity, user, "user:account:update", after={"set": name})


def _change(identity: Identity, user: Any, name: str, value: Any, unit: Unit) -> None:
    """Set an attribute and write it.

    :raises Conflict: the key changes with it, or it has no setter.
    """
    fields.check_settable(identity, name)
    before = identity.key.of(user)
    with fields.translate_refusals(identity):
        setattr(user, name, value)
    fields.flush(identity, unit.session)
    if identity.key.of(user) != before:
        model = identity.model.__name__
        raise Conflict(f"the key of {model} never changes, and {name} is a part of it")


def set_active(references: Iterable[str], active: bool, *, unit: Unit) -> list[Record]:
    """Let accounts sign in again, or stop them; an answer says what becomes of their sessions.

    :raises Conflict: no column says whether an account is active.
    :raises Refused: no administrator would be left.
    """
    with changing(unit, "active") as identity:
        users = subjects.accounts(identity, unit.session, references)
        return [switch_account(identity, user, active, unit) for user in users]


def switch_account(identity: Identity, user: Any, active: bool, unit: Unit) -> Record:
    """Activate or deactivate an account inside of a unit that is entered."""
    changed = _switch(identity, user, active, unit)
    sessions = identity.after_deactivation if changed and not active else None
    return {"changed": changed, **identity.record(user), "sessions": sessions}


def _switch(identity: Identity, user: Any, active: bool, unit: Unit) -> bool:
    switch = identity.active
    if switch is None or bool(switch.of(user)) is active:
        return False
    if isinstance(switch, Attribute):
        fields.check_settable(identity, switch.name)
    with fields.own_function("active"):
        switch.set(user, active)
    if not active:
        _end_sessions(identity, user, unit)
    fields.flush(identity, unit.session)
    verb = "activate" if active else "deactivate"
    before, after = {"active": not active}, {"active": active}
    subjects.record(unit, identity, user, f"user:account:{verb}", before=before, after=after)
    signal = signals.user_updated if active else signals.user_deactivated
    unit.announce(signal, user_id=plain_key(identity.key.of(user)))
    return True


def set_password(reference: str, password: str, *, unit: Unit) -> Record:
    """Set a password by the application's own function; the same password changes nothing.

    :raises Conflict: no function sets a password.
    :raises Invalid: the policy refuses it.
    :raises Busy: another process has set another meanwhile.
    """
    identity, session = this_identity(), db.session()
    set_word = _prepare_password(identity, password)
    user = identity.get(session, reference)
    before, key = _hash(identity, user), identity.key.of(user)
    is_same = _matches(identity, user, password)
    with changing(unit, "passwords") as identity:
        user = identity.get(session, str(key))
        if is_same and _hash(identity, user) != before:
            raise Busy("another process set the password meanwhile", hint="try again")
        if not is_same:
            _store(identity, user, set_word, unit)
        return identity.record(user)


def _hash(identity: Identity, user: Any) -> Any:
    return identity.password and identity.password.of(user)


def _matches(identity: Identity, user: Any, password: str) -> bool:
    check = identity.passwords and identity.passwords.check
    return bool(check and has_password(identity, user) and check(user, password))


def _store(identity: Identity, user: Any, set_word: Any, unit: Unit) -> None:
    had = SET if has_password(identity, user) else None
    with fields.own_function("set_password"):
        set_word(user)
    _end_sessions(identity, user, unit)
    fields.flush(identity, unit.session)
    before, after = {"password": had}, {"password": SET}
    subjects.record(unit, identity, user, "user:password:set", before=before, after=after)
    unit.announce(signals.user_updated, user_id=plain_key(identity.key.of(user)))


def _end_sessions(identity: Identity, user: Any, unit: Unit) -> None:
    if identity.end_sessions is not None:
        with fields.own_function("end_sessions"):
            identity.end_sessions(user)
        unit.note(f"ends the sessions of {_name(identity, user)}")


def _name(identity: Identity, user: Any) -> str:
    account = identity.record(user)
    return str(account["email"] or account["username"] or account["id"])


# --- deleting ----------------------------------------------------------------


def delete(reference: str, *, receipt: str | None = None, unit: Unit) -> Record:
    """Delete an account by the application's function, and forget it beside the chain.

    :param receipt: a new file, which names the account as the audit does.
    :raises Conflict: no function deletes an account.
    :raises Refused: no administrator would be left.
    """
    with Receipt(receipt) as evidence, changing(unit, "erase") as identity:
        user = identity.get(unit.session, reference)
        subject, account = identity.subject(user), identity.record(user)
        name = _name(identity, user)
        with fields.own_function("erase"):
            identity.need("erase")(user)
        fields.flush(identity, unit.session)
        erased = {
            "audit_names": remove(unit.ours, PersonalValue, PersonalValue.subject == subject),
            "ends_of_roles": remove(unit.ours, RoleEnd, RoleEnd.subject == subject),
        }
        evidence.write({"subject": subject, "erased": erased}, unit)
        unit.note(f"deletes {name} by the application's function{_erasure_words(erased)}")
        unit.record("user:account:delete", subject, before={"roles": account["roles"]})
        unit.announce(signals.user_deleted, user_id=account["id"])
        return {"id": account["id"], "status": "deleted"}


def _erasure_words(erased: Mapping[str, int]) -> str:
    """Return in words what is erased beside the account."""
    nouns = {"audit_names": "name of the audit log", "ends_of_roles": "end of a role"}
    counts = [text.pluralize(erased[kind], noun) for kind, noun in nouns.items() if erased[kind]]
    return f", and erases {' and '.join(counts)}" if counts else ""
