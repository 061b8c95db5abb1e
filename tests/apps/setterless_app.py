"""Parts of an account are hybrids that nothing sets: the application sets their columns."""

from __future__ import annotations

import os

import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.ext.hybrid import hybrid_property

db = SQLAlchemy()
migrate = Migrate()


class User(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(255), nullable=False, unique=True)
    first = db.Column(db.String(80), nullable=False, default="Bob")
    last = db.Column(db.String(80), nullable=False, default="Ross")
    disabled = db.Column(db.Boolean, nullable=False, default=False)
    confirmed = db.Column(db.Boolean, nullable=False, default=True)

    @hybrid_property
    def username(self) -> str:
        name: str = self.first + "." + self.last
        return name

    @hybrid_property
    def is_active(self) -> bool | None:
        return None if self.confirmed is None else self.confirmed and not self.disabled

    @is_active.inplace.expression
    @classmethod
    def _is_active_in_sql(cls) -> sa.ColumnElement[bool]:
        return sa.and_(~cls.disabled, cls.confirmed)

    @hybrid_property
    def is_owner(self) -> bool:
        return bool(self.last == "Owner")

    @is_owner.inplace.expression
    @classmethod
    def _is_owner_in_sql(cls) -> sa.ColumnElement[bool]:
        return cls.last == "Owner"


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])
    return app
