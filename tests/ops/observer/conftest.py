"""Applications that are observed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask

from tests.ops.observer.observing import Theirs, flag_people, observed, relation_people
from tests.support import Database

Observe = Callable[..., Theirs]


@pytest.fixture
def observe_relations(
    database: Database, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Observe]:
    """Call it to have the application with roles by relations observed."""
    from tests.apps import relation_app

    monkeypatch.setenv("THEIR_DATABASE_URL", _sqlalchemy_url(database))
    monkeypatch.setenv("THEIR_MIGRATIONS", str(database.instance / "migrations"))
    with ExitStack() as stack:

        def observe(**options: Any) -> Theirs:
            people = options.pop("people", None) or relation_people()
            their_app = relation_app.create_app()
            theirs = observed(their_app, relation_app.db, people, database, app, **options)
            return stack.enter_context(theirs)

        yield observe


@pytest.fixture
def theirs(observe_relations: Observe) -> Theirs:
    """The application with roles by relations, observed as by default."""
    return observe_relations()


@pytest.fixture
def flagged(database: Database, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Theirs]:
    """The application whose key is an e-mail address, observed."""
    from tests.apps import flag_app

    monkeypatch.setenv("THEIR_DATABASE_URL", _sqlalchemy_url(database))
    monkeypatch.setenv("THEIR_MIGRATIONS", str(database.instance / "migrations"))
    with observed(flag_app.create_app(), flag_app.db, flag_people(), database, app) as theirs:
        yield theirs


def _sqlalchemy_url(database: Database) -> str:
    return database.url.replace("postgresql:", "postgresql+psycopg:")
