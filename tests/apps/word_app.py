"""A UUID for a key, and a word for a role."""

from __future__ import annotations

import os
import uuid

import click
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
migrate = Migrate()


class Person(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Uuid, primary_key=True, default=uuid.uuid4)
    email = db.Column(db.String(200), unique=True)
    password = db.Column(db.LargeBinary(60))
    active = db.Column(db.Boolean, default=True)
    role = db.Column(db.String(20), default="user")


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])

    @app.cli.command()
    def jobs() -> None:
        """Show what is planned."""
        click.echo("nothing is planned")

    return app
