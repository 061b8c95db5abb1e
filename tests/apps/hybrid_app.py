"""Names and the flag of an account are hybrids over other columns, as Mailu has them."""

from __future__ import annotations

import os

import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.ext.hybrid import hybrid_property

db = SQLAlchemy()
migrate = Migrate()


class Domain(db.Model):  # type: ignore[name-defined]
    name = db.Column(db.String(80), primary_key=True)


class Address(sa.TypeDecorator[str]):
    """Refuses what is not an address."""

    impl = sa.String(255)
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: object) -> str | None:
        if value is not None and ".." in value:
            raise ValueError("two dots in the address")
        return value


class User(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    _email = db.Column("email", Address, nullable=False, unique=True)
    localpart = db.Column(db.String(80), nullable=False)
    domain_name = db.Column(db.ForeignKey("domain.name"), nullable=False)
    shelf = db.Column(db.String(20), nullable=False)
    _on = db.Column("enabled", db.Boolean, nullable=False, default=True)
    is_admin = db.Column(db.Boolean, nullable=False, default=False)

    @hybrid_property
    def email(self) -> str:
        address: str = self._email
        return address

    @email.inplace.setter
    def _set_email(self, value: str) -> None:
        self.localpart, self.domain_name = value.lower().split("@")
        self._email = value.lower()

    @hybrid_property
    def active(self) -> bool:
        return bool(self._on)

    @active.inplace.setter
    def _set_active(self, value: bool) -> None:
        self._on = value

    @active.inplace.expression
    @classmethod
    def _active_in_sql(cls) -> sa.ColumnElement[bool]:
        return sa.and_(cls._on.is_(True), sa.true())

    @hybrid_property
    def domain_is_known(self) -> bool:
        return db.session.get(Domain, self.domain_name) is not None

    @domain_is_known.inplace.expression
    @classmethod
    def _domain_is_known_in_sql(cls) -> sa.ColumnElement[bool]:
        return sa.exists().where(Domain.name == cls.domain_name)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    migrate.init_app(app, db, directory=os.environ["THEIR_MIGRATIONS"])
    return app
