"""Flask-Security, with its own commands for users and roles."""

from __future__ import annotations

import os

import click
from flask import Flask
from flask_migrate import Migrate
from flask_security import RoleMixin, Security, SQLAlchemyUserDatastore, UserMixin
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
migrate = Migrate()
roles_users = db.Table(
    "roles_users",
    db.Column("user_id", db.ForeignKey("user.id"), primary_key=True),
    db.Column("role_id", db.ForeignKey("role.id"), primary_key=True),
)


class Role(db.Model, RoleMixin):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(80), unique=True)
    permissions = db.Column(db.String(255))


class User(db.Model, UserMixin):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(255), unique=True)
    username = db.Column(db.String(255), unique=True)
    password = db.Column(db.String(255))
    active = db.Column(db.Boolean, nullable=False)
    fs_uniquifier = db.Column(db.String(64), unique=True, nullable=False)
    confirmed_at = db.Column(db.DateTime)
    roles = db.relationship(Role, secondary=roles_users)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "theirs"
    app.config["SECURITY_PASSWORD_SALT"] = "their salt"
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])
    app.security = Security(app, SQLAlchemyUserDatastore(db, User, Role))

    @app.cli.command()
    def audit() -> None:
        """Count the users."""
        click.echo(db.session.query(User).count())

    return app
