"""The small applications of tests/apps, with their tables in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import orm as so

from opsapp.ops.discovery import discover
from opsapp.ops.identity import Identity


class Theirs:
    """An application of tests/apps with its tables in memory."""

    def __init__(self, name: str) -> None:
        self.module = import_module(f"tests.apps.{name}")
        self.app: Flask = self.module.create_app()
        self.app.config["OPSAPP_AUDIT_KEY"] = "a key of this test"
        self.db = self.module.db

    @property
    def models(self) -> list[type]:
        return [mapper.class_ for mapper in self.db.Model.registry.mappers]

    def identity(self, **parts: Any) -> Identity:
        identity = discover(self.app, self.models, parts)
        assert identity is not None
        return identity

    def add(self, *rows: Any) -> None:
        self.db.session.add_all(rows)
        self.db.session.commit()


@pytest.fixture
def theirs(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Theirs]:
    """The application that the test names, with a context."""
    monkeypatch.setenv("THEIR_DATABASE_URL", "sqlite://")
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    theirs = Theirs(request.param)
    with theirs.app.app_context():
        theirs.db.create_all()
        yield theirs
        theirs.db.session.remove()
        theirs.db.engine.dispose()


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("theirs", names, indirect=True)


def parts(identity: Identity) -> dict[str, Any]:
    return {
        "model": identity.model.__name__,
        "key": identity.key_type.__name__,
        "email": identity.email and identity.email.name,
        "username": identity.username and identity.username.name,
        "active": identity.active and str(identity.active),
        "password": identity.passwords and identity.passwords.source,
        "roles": [f"{rule.kind} {rule.attribute.name}" for rule in identity.roles],
        "admin": identity.admin is not None,
    }


Find = Callable[..., Identity]


@pytest.fixture
def base() -> type[so.DeclarativeBase]:
    """A base of its own, so that each test may have a class of the name User."""

    class Base(so.DeclarativeBase):
        pass

    return Base


@pytest.fixture
def find(base: type[so.DeclarativeBase]) -> Find:
    """A function that finds the identity among the classes of the base."""

    def find(**parts: Any) -> Identity:
        models = [mapper.class_ for mapper in base.registry.mappers]
        identity = discover(Flask("theirs"), models, parts)
        assert identity is not None
        return identity

    return find
