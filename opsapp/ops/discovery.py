"""Discovery: an identity from what an application says, from its framework, and from names.

Parts that an application says win, one by one. Then Flask-Security's datastore and
Flask-AppBuilder's security manager are asked, then the names of attributes.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import NoInspectionAvailable

from ..errors import Conflict, Invalid
from . import arguments, passwords
from .attributes import (
    Attribute,
    Condition,
    Model,
    Switch,
    attribute,
    attribute_names,
    columns,
    python_type,
    relations,
)
from .identity import BY_NAME, Identity, key_type
from .roles import Flag, Relation, Rule, Word

MODELS = ("User", "Users", "Account")
NAMES: dict[str, tuple[str, ...]] = {
    "email": ("email", "email_address"),
    "username": ("username", "login", "name"),
    "active": ("active", "is_active", "enabled"),
    "password": ("password", "password_hash", "_password", "hashed_password"),
    "created_at": ("created_at", "created_on", "date_created", "created"),
    "last_seen_at": (
        "last_seen_at",
        "last_seen",
        "current_login_at",
        "last_login_at",
        "last_login",
    ),
}
RELATIONS = ("roles", "groups", "role")
FLAGS = ("is_admin", "global_admin", "is_superuser", "admin")
WORDS = ("role", "type")
SECURITY, APPBUILDER = "Flask-Security", "AppBuilder"
FIELDS = {
    SECURITY: {"email", "username", "active", "password", "roles"},
    APPBUILDER: {"email", "username", "active", "password", "roles", "groups"},
}
"""The attributes that a framework prescribes, so that their names are no guess."""


def discover(app: Flask, models: Iterable[Model], parts: Mapping[str, Any]) -> Identity | None:
    """Return the identity of an application, or None if no model of accounts is found.

    It asks no database. Arguments of ``Ops`` that are about something else are passed over.

    :param models: the mapped classes of the application.
    :param parts: the arguments of ``Ops``.
    :raises Invalid: an argument does not fit the model; names the argument.
    :raises Conflict: the model has a key of several columns.
    """
    user = parts.get("user")
    if isinstance(user, Identity):
        arguments.check(user.model, parts)
        return user
    place = _model(app, models, user)
    if place is None:
        return None
    model, source = place
    if len(sa.inspect(model).primary_key) != 1:
        if user is None:
            return None
        raise Conflict(f"{model.__name__} has a key of several columns, which opsapp cannot name")
    arguments.check(model, parts)
    return _Discovery(app, model, source, parts).identity()


def _model(app: Flask, models: Iterable[Model], user: Any) -> tuple[Model, str] | None:
    if user is not None:
        return _load_model(user), "Ops(user=…)"
    if (model := _of_flask_security(app)) is not None:
        return model, SECURITY
    if (model := _of_appbuilder(app)) is not None:
        return model, APPBUILDER
    usual = [model for model in models if model.__name__ in MODELS]
    for name in MODELS:
        candidates = [model for model in usual if model.__name__ == name]
        if (model := _common_base(candidates)) is not None:
            return model, BY_NAME
    return None


def _common_base(candidates: Collection[Model]) -> Model | None:
    """Return the only one, or the one that the others inherit from.

    A class of the same name for logins, on the same table, has the same accounts.
    """
    for model in candidates:
        if all(issubclass(candidate, model) for candidate in candidates):
            return model
    return None


def accounts_of(app: Flask, parts: Mapping[str, Any]) -> Iterator[Model | None]:
    """Yield what may be the model of accounts, as far as it is imported."""
    user = parts.get("user")
    if isinstance(user, str):
        module, _colon, name = user.partition(":")
        user = getattr(sys.modules.get(module), name, None)
    yield user.model if isinstance(user, Identity) else user
    yield _of_flask_security(app)
    yield _of_appbuilder(app)


def _load_model(user: Any) -> Model:
    """Return the class that ``Ops(user=…)`` says, itself or as ``package.module:Name``.

    :raises Invalid: it is not a mapped class.
    """
    try:
        if isinstance(user, str):
            module, _colon, name = user.partition(":")
            user = getattr(import_module(module), name)
        sa.inspect(user).primary_key  # noqa: B018  (only a mapper has one)
    except (ImportError, AttributeError, ValueError, NoInspectionAvailable) as error:
        raise Invalid(f"user={user} is not a mapped class") from error
    model: Model = user
    return model


def _of_flask_security(app: Flask) -> Model | None:
    datastore = getattr(app.extensions.get("security"), "datastore", None)
    model: Model | None = getattr(datastore, "user_model", None)
    return model


def _of_appbuilder(app: Flask) -> Model | None:
    manager = getattr(app.extensions.get("appbuilder"), "sm", None)
    model: Model | None = getattr(manager, "user_model", None)
    return model


@dataclass
class _Discovery:
    """The search for the parts of one model."""

    app: Flask
    model: Model
    source: str
    parts: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.sources = {"model": self.source}
        self.names = attribute_names(self.model)
        self.columns = dict(columns(self.model))

    def identity(self) -> Identity:
        """Return the identity of the model."""
        key = self._key()
        roles = self._roles()
        return Identity(
            model=self.model,
            key=key,
            key_type=key_type(sa.inspect(self.model).primary_key[0]),
            email=self._attribute("email"),
            username=self._attribute("username"),
            active=self._active(),
            password=self._attribute("password"),
            confirmed=self._confirmation(),
            created_at=self._attribute("created_at"),
            last_seen_at=self._attribute("last_seen_at"),
            roles=roles,
            admin=self._admin(roles),
            find_passwords=self._passwords(),
            end_sessions=self._end_sessions(),
            load=self._loader(),
            make=self._make(),
            normal_email=self._normal_email if self._has_datastore else str,
            erase=self._function("erase"),
            also_secret=self._names_of("secret") or frozenset(),
            also_personal=self._names_of("personal") or frozenset(),
            sources=self.sources,
            watch=self._names_of("watch"),
        )

    def _key(self) -> Attribute:
        mapper = sa.inspect(self.model)
        return Attribute(self.model, mapper.get_property_by_column(mapper.primary_key[0]).key)

    def _attribute(self, part: str) -> Attribute | None:
        if part in self.parts:
            self.sources[part] = f"Ops({part}=…)"
            return self._check_attribute(part, self.parts[part])
        name = next((name for name in NAMES[part] if self._fits(part, name)), None)
        if name is None:
            return None
        self.sources[part] = self._source(name)
        return Attribute(self.model, name)

    def _check_attribute(self, part: str, value: Any) -> Attribute | None:
        """Return the attribute that an argument says; None where it says that there is none."""
        if value is None:
            return None
        column = attribute(self.model, value, part)
        if column.name in relations(self.model):
            raise Invalid(f"{part}={column} is not a column of {self.model.__name__}")
        # A number may be a boolean, as in MySQL, and so may a type of the application's own.
        kind = getattr(self.columns.get(column.name), "type", None)
        if part == "active" and isinstance(kind, sa.String | sa.DateTime | sa.Date):
            raise Invalid(f"{part}={column} is not a boolean column of {self.model.__name__}")
        return column

    def _fits(self, part: str, name: str) -> bool:
        """Return whether an attribute of this name can be the part: a column or a hybrid."""
        if name not in self.names or name in relations(self.model):
            return False
        if part == "active":
            return name not in self.columns or python_type(self.columns[name]) is bool
        return part != "password" or name in self.columns

    def _source(self, name: str) -> str:
        return self.source if name in FIELDS.get(self.source, ()) else BY_NAME

    def _active(self) -> Switch | None:
        value = self.parts.get("active")
        if not isinstance(value, tuple):
            return self._attribute("active")
        self.sources["active"] = "Ops(active=…)"
        condition, setter = value
        return Condition(self.model, condition, setter)

    # --- roles -------------------------------------------------------------------

    def _roles(self) -> Sequence[Rule]:
        if "roles" in self.parts:
            self.sources["roles"] = "Ops(roles=…)"
            return tuple(self.parts["roles"] or ())
        related: list[Rule] = [*self._find_relations()]
        flags: list[Rule] = [
            Flag(Attribute(self.model, name)) for name in FLAGS if self._is_of(name, bool)
        ]
        words: list[Rule] = [
            Word(Attribute(self.model, name)) for name in WORDS if self._is_word(name)
        ]
        rules = related + flags[:1] + words[:1]
        if rules:
            self.sources["roles"] = ", ".join(
                dict.fromkeys(self._source(rule.attribute.name) for rule in rules)
            )
        return rules

    def _find_relations(self) -> list[Relation]:
        rules = []
        for name in RELATIONS:
            relation = relations(self.model).get(name)
            if relation is not None and "name" in attribute_names(relation.mapper.class_):
                target = Attribute(relation.mapper.class_, "name")
                rules.append(Relation(Attribute(self.model, name), target))
        return rules

    def _is_of(self, name: str, kind: type) -> bool:
        return name in self.columns and python_type(self.columns[name]) is kind

    def _is_word(self, name: str) -> bool:
        column = self.columns.get(name)
        if column is None or column.foreign_keys:
            return False
        return issubclass(python_type(column), str | enum.Enum)

    def _admin(self, roles: Sequence[Rule]) -> sa.ColumnElement[bool] | None:
        if "admin" in self.parts:
            self.sources["admin"] = "Ops(admin=…)"
            criterion: sa.ColumnElement[bool] | None = self.parts["admin"]
            return criterion
        conditions = [
            condition
            for rule in roles
            if rule.attribute.name != "groups" and (condition := rule.administers()) is not None
        ]
        if not conditions:
            return None
        self.sources["admin"] = self.sources["roles"]
        return sa.or_(*conditions)

    # --- functions ---------------------------------------------------------------

    def _passwords(self) -> Callable[[], passwords.Passwords | None]:
        """Return the function that finds theirs: a trial hashes, so it waits until it is needed."""
        setter, check = (self.parts.get(name) for name in ("set_password", "check_password"))
        if "set_password" in self.parts:
            self.sources["passwords"] = source = "Ops(set_password=…)"
            return lambda: setter and passwords.by(setter, source, check)
        if self._has_datastore:
            self.sources["passwords"] = SECURITY
            return lambda: passwords.of_flask_security(self.app)
        if self.model is _of_appbuilder(self.app):
            self.sources["passwords"] = APPBUILDER
            return lambda: passwords.of_appbuilder(self.app)
        self.sources["passwords"] = "a method, or a trial"
        return lambda: passwords.of_model(self.model, check)

    @property
    def _has_datastore(self) -> bool:
        return self.model is _of_flask_security(self.app)

    def _make(self) -> Any:
        if "create" in self.parts:
            self.sources["create"] = "Ops(create=…)"
            return self.parts["create"]
        return (
            self.app.extensions["security"].datastore.create_user if self._has_datastore else None
        )

    def _normal_email(self, address: str) -> str:
        """Return an address as Flask-Security stores it; of its versions below 4, as it is."""
        security = self.app.extensions["security"]
        tool = getattr(security, "mail_util", None) or getattr(security, "_mail_util", None)
        return str(tool.normalize(address)) if tool else address

    def _end_sessions(self) -> Any:
        if "end_sessions" in self.parts:
            self.sources["end_sessions"] = "Ops(end_sessions=…)"
            return self.parts["end_sessions"]
        if self._has_datastore and "fs_uniquifier" in self.columns:
            self.sources["end_sessions"] = SECURITY
            return self.app.extensions["security"].datastore.set_uniquifier
        return None

    def _loader(self) -> Callable[[Any], Any]:
        """Return AppBuilder's function that loads a session's account, with the account at hand."""
        if self.model is not _of_appbuilder(self.app):
            return lambda user: user
        kind = type(self.app.extensions["appbuilder"].sm)
        return lambda user: kind.load_user(SimpleNamespace(get_user_by_id=lambda _key: user), 0)

    def _confirmation(self) -> Attribute | None:
        is_asked = self._has_datastore and passwords.asks_confirmation(self.app)
        return Attribute(self.model, "confirmed_at") if is_asked else None

    def _function(self, part: str) -> Any:
        if self.parts.get(part) is not None:
            self.sources[part] = f"Ops({part}=…)"
        return self.parts.get(part)

    def _names_of(self, part: str) -> frozenset[str] | None:
        names = self.parts.get(part)
        if names is None:
            return None
        return frozenset(attribute(self.model, name, part).name for name in names)
