"""A UUID for a key, a password that an assignment hashes, and roles by a relation."""

from __future__ import annotations

import os
import uuid

import click
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash, generate_password_hash

db = SQLAlchemy()
migrate = Migrate()
account_roles = db.Table(
    "account_roles",
    db.Column("account_id", db.ForeignKey("account.id"), primary_key=True),
    db.Column("role_id", db.ForeignKey("account_role.id"), primary_key=True),
)


class Role(db.Model):  # type: ignore[name-defined]
    __tablename__ = "account_role"
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(80), unique=True)


class Account(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Uuid, primary_key=True, default=uuid.uuid4)
    email_address = db.Column(db.String(200), unique=True, nullable=False)
    is_active = db.Column(db.Boolean, nullable=False, default=True)
    password_hash = db.Column(db.String(256))
    created_at = db.Column(db.DateTime(timezone=True), server_default=db.func.now())
    roles = db.relationship(Role, secondary=account_roles, collection_class=set)

    @property
    def password(self) -> str:
        raise AttributeError("a password cannot be read")

    @password.setter
    def password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def verify_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])

    @app.cli.group()
    def mail() -> None:
        """Their mail."""

    @mail.command("list")
    def list_mail() -> None:
        """List what waits."""
        click.echo("no mail")

    return app
