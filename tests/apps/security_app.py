"""Flask-Security, with its own commands for users and roles."""

from __future__ import annotations

import os

import click
from flask import Flask
from flask_migrate import Migrate
from flask_security import Security, SQLAlchemyUserDatastore
from flask_security.models import fsqla
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
migrate = Migrate()
fsqla.FsModels.set_db_info(db)


class Role(db.Model, fsqla.FsRoleMixin):  # type: ignore[name-defined]
    pass


class User(db.Model, fsqla.FsUserMixin):  # type: ignore[name-defined]
    pass


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
