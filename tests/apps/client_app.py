"""Models whose own representation has their secrets; no accounts."""

from __future__ import annotations

import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()


class Member(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(40))
    badge = db.Column(db.String(40), info={"secret": True})
    clients = db.relationship("Client")


class Client(db.Model):  # type: ignore[name-defined]
    id = db.Column(db.Integer, primary_key=True)
    member_id = db.Column(db.ForeignKey("member.id"))
    api_key = db.Column(db.String(40))

    def __repr__(self) -> str:
        return f"<Client {self.api_key}>"


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE_URL"]
    db.init_app(app)
    return app
