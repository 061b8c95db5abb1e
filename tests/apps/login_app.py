"""Flask-Login, an integer key, a password by a method, and no roles."""

from __future__ import annotations

import os

import click
from flask import Flask
from flask_login import LoginManager, UserMixin
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from werkzeug.security import check_password_hash, generate_password_hash

db = SQLAlchemy()
migrate = Migrate()
login = LoginManager()


class User(UserMixin, db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    username = db.Column(db.String(64), unique=True)
    email = db.Column(db.String(120), unique=True)
    password_hash = db.Column(db.String(256))
    about_me = db.Column(db.String(140))
    last_seen = db.Column(db.DateTime)

    def set_password(self, password: str) -> None:
        self.password_hash = generate_password_hash(password)

    def check_password(self, password: str) -> bool:
        return check_password_hash(self.password_hash, password)


@login.user_loader  # type: ignore[untyped-decorator]
def load_user(key: str) -> User | None:
    return db.session.get(User, int(key))


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "theirs"
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])
    login.init_app(app)

    @app.cli.group()
    def translate() -> None:
        """Translation and localization commands."""

    @translate.command()
    @click.argument("lang")
    def init(lang: str) -> None:
        """Initialize a new language."""
        click.echo(f"initialised {lang}")

    return app
