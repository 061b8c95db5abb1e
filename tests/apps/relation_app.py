"""Roles and groups by relations, as Flask-AppBuilder has them."""

from __future__ import annotations

import os

import click
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import orm as so
from werkzeug.security import check_password_hash

Base = so.declarative_base()  # AppBuilder's models have a base of their own.
db = SQLAlchemy(metadata=Base.metadata)
migrate = Migrate()

user_roles = db.Table(
    "ab_user_role",
    db.Column("user_id", db.ForeignKey("ab_user.id"), primary_key=True),
    db.Column("role_id", db.ForeignKey("ab_role.id"), primary_key=True),
)
user_groups = db.Table(
    "ab_user_group",
    db.Column("user_id", db.ForeignKey("ab_user.id"), primary_key=True),
    db.Column("group_id", db.ForeignKey("ab_group.id"), primary_key=True),
)


class Role(Base):  # type: ignore[misc, valid-type]
    __tablename__ = "ab_role"
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(64), unique=True)


class Group(Base):  # type: ignore[misc, valid-type]
    __tablename__ = "ab_group"
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(100), unique=True)


class User(Base):  # type: ignore[misc, valid-type]
    __tablename__ = "ab_user"
    id = db.Column(db.Integer, primary_key=True)
    username = db.Column(db.String(64), unique=True)
    email = db.Column(db.String(320), unique=True)
    password = db.Column(db.String(256))
    active = db.Column(db.Boolean)
    roles = db.relationship(Role, secondary=user_roles)
    groups = db.relationship(Group, secondary=user_groups)
    last_login = db.Column(db.DateTime)

    @property
    def is_active(self) -> bool:
        return bool(self.active)

    @property
    def is_authenticated(self) -> bool:
        return True


class SecurityManager:
    """The part of AppBuilder that knows the accounts."""

    user_model = User

    def get_user_by_id(self, key: int) -> User | None:
        return db.session.get(User, key)

    def load_user(self, key: int) -> User | None:
        user = self.get_user_by_id(int(key))
        return user if user and user.is_active else None

    def auth_user_db(self, username: str, password: str) -> User | None:
        user: User | None = db.session.query(User).filter_by(username=username).one_or_none()
        is_right = user and user.is_active and check_password_hash(user.password, password)
        return user if is_right else None


class AppBuilder:
    sm = SecurityManager()


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])
    app.extensions["appbuilder"] = AppBuilder()

    @app.cli.group()
    def roles() -> None:
        """Their roles."""

    @roles.command("list")
    def list_roles() -> None:
        """Name each role."""
        click.echo(", ".join(role.name for role in db.session.query(Role)) or "no roles")

    return app
