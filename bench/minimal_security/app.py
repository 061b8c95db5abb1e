"""A minimal Flask application with Flask-SQLAlchemy and Flask-Security, as its guide writes it."""

from __future__ import annotations

import os

from flask import Flask
from flask_security.core import Security
from flask_security.datastore import SQLAlchemyUserDatastore
from flask_security.models import fsqla_v2
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
fsqla_v2.FsModels.set_db_info(db)  # type: ignore[attr-defined, no-untyped-call]


class Role(db.Model, fsqla_v2.FsRoleMixin):  # type: ignore[misc, name-defined]
    """Flask-Security's own role."""


class User(db.Model, fsqla_v2.FsUserMixin):  # type: ignore[misc, name-defined]
    """Flask-Security's own account."""


def create_app() -> Flask:
    """The application, its database in the file that ``MINIMAL_DATABASE`` names."""
    app = Flask(__name__)
    app.config["SECRET_KEY"] = app.config["SECURITY_PASSWORD_SALT"] = "for the benchmark" * 2
    app.config["SECURITY_EMAIL_VALIDATOR_ARGS"] = {"check_deliverability": False}
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{os.environ['MINIMAL_DATABASE']}"
    db.init_app(app)
    Security(app, SQLAlchemyUserDatastore(db, User, Role))
    return app
