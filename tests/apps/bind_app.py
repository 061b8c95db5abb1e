"""Accounts in a database of their own, by a bind key."""

from __future__ import annotations

import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
migrate = Migrate()


class User(db.Model):  # type: ignore[name-defined, misc]
    __bind_key__ = "people"
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(120), unique=True)
    active = db.Column(db.Boolean, nullable=False, default=True)


class Article(db.Model):  # type: ignore[name-defined, misc]
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(120))


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    app.config["SQLALCHEMY_BINDS"] = {"people": os.environ["THEIR_PEOPLE_URL"]}
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])
    return app
