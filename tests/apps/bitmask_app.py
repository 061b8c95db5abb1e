"""One role for each account, by a foreign key, with permissions as the bits of a number."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash, generate_password_hash

db = SQLAlchemy()


class Moment(sa.TypeDecorator[datetime]):
    """A time in UTC, which the database keeps without a zone; it takes no NULL."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Any) -> Any:
        return value.astimezone(UTC).replace(tzinfo=None)


class Permission:
    WRITE = 1
    MODERATE = 2
    ADMIN = 4


class Role(db.Model):  # type: ignore[name-defined]
    __tablename__ = "roles"
    id = db.Column(db.Uuid, primary_key=True, default=uuid.uuid4)
    name = db.Column(db.String(64), unique=True)
    permissions = db.Column(db.Integer)
    users = db.relationship("User", backref="role", lazy="dynamic")

    def has_permission(self, permission: int) -> bool:
        return bool(self.permissions & permission)


class User(db.Model):  # type: ignore[name-defined]
    __tablename__ = "users"
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(64), unique=True)
    username = db.Column(db.String(64), unique=True)
    role_id = db.Column(db.ForeignKey("roles.id"))
    password_hash = db.Column(db.String(256))
    confirmed = db.Column(db.Boolean, default=False)
    member_since = db.Column(Moment, default=lambda: datetime.now(UTC))

    @property
    def password(self) -> str:
        raise AttributeError("password is not a readable attribute")

    @password.setter
    def password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def verify_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    return app
