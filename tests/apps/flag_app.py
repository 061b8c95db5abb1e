"""The e-mail is the key, and a flag makes an administrator."""

from __future__ import annotations

import os
from typing import Any, Literal

import click
import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash, generate_password_hash

db = SQLAlchemy()


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write the type of the addresses as what it is in the database."""
    return "sa.String(255)" if kind == "type" and isinstance(item, Address) else False


migrate = Migrate(render_item=render)


class Address(sa.TypeDecorator[str]):
    """Refuses what is not an address, in queries too."""

    impl = sa.String(255)
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Any) -> str | None:
        if value is not None and "@" not in value:
            raise ValueError("no address")
        return value


class User(db.Model):  # type: ignore[name-defined]
    email = db.Column(Address, primary_key=True)
    password = db.Column(db.String(255))
    enabled = db.Column(db.Boolean, nullable=False, default=True)
    global_admin = db.Column(db.Boolean, nullable=False, default=False)
    domain_name = db.Column(db.String(80), nullable=False)

    def set_password(self, password: str) -> None:
        self.password = generate_password_hash(password)

    @classmethod
    def login(cls, email: str, password: str) -> User | None:
        user: User | None = db.session.get(cls, email)
        is_right = user and user.enabled and check_password_hash(user.password, password)
        return user if is_right else None


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])

    @app.cli.command("create-admin")
    @click.argument("email")
    def create_admin(email: str) -> None:
        """Make an administrator."""
        db.session.add(User(email=email, domain_name=email.split("@")[1], global_admin=True))
        db.session.commit()
        click.echo(f"{email} administers")

    return app
