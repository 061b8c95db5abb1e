"""The databases that tests begin with: made once by the commands, then copied."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support import PASSWORD, Database, Result, administer, canaries, in_process, run

Commands = tuple[tuple[str, ...], ...]
"""Commands run before a test begins, after ``db init``; who asks for a password gets one."""

ADA: Commands = (
    ("users", "create-admin", "ada@example.com", "--username", "ada", "--password-stdin"),
)
BOB: Commands = (
    *ADA,
    ("users", "create", "bob@example.com", "--username", "bob", "--no-password"),
)

_numbers = itertools.count()


class Templates:
    """The databases of one kind that tests begin with.

    :param folder: where the instance folders of the templates go.
    :param server: the PostgreSQL server; None makes SQLite files.
    """

    def __init__(self, folder: Path, server: str | None = None) -> None:
        self._folder = folder
        self._server = server
        self._made: dict[tuple[object, ...], Database] = {}

    def of(self, commands: Commands = (), **environ: str) -> Database:
        """The database after these commands. It is made once: do not change it."""
        key = (commands, *environ.items())
        if key not in self._made:
            template = self._empty(self._folder / str(len(self._made)))
            with _door(template, environ) as call:
                for command in (("db", "init"), *commands):
                    call(*command, stdin=PASSWORD, check=True)
            self._made[key] = template
        return self._made[key]

    @contextmanager
    def copy(self, instance: Path, commands: Commands = (), **environ: str) -> Iterator[Database]:
        """A database that is as if the commands had just made it."""
        template = self.of(commands, **environ)
        shutil.copytree(template.instance, instance)
        with self._dropped_in_the_end(self._database(instance, template)) as database:
            yield database

    @contextmanager
    def empty(self, instance: Path) -> Iterator[Database]:
        """A database that is not initialised yet."""
        with self._dropped_in_the_end(self._empty(instance)) as database:
            yield database

    def _empty(self, instance: Path) -> Database:
        instance.mkdir(mode=0o700)
        return self._database(instance)

    def _database(self, instance: Path, template: Database | None = None) -> Database:
        if self._server is None:
            return Database(f"sqlite:///{instance}/opsapp.sqlite", instance)
        name = f"test_{next(_numbers)}"
        copy_database(self._server, _name(template) if template else "template1", name)
        return Database(self._server.format(name), instance)

    @contextmanager
    def _dropped_in_the_end(self, database: Database) -> Iterator[Database]:
        try:
            yield database
            leaks = canaries.leaks(database)
            assert leaks == [], leaks
        finally:
            if self._server is not None:
                administer(self._server, f"DROP DATABASE {_name(database)} WITH (FORCE)")


def copy_database(server: str, like: str | None, name: str) -> None:
    """Make a database of this name; the one that it is like must have no connections."""
    # Copying its files takes half of the time that writing every page to the log does.
    administer(server, f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY FILE_COPY")


@contextmanager
def _door(database: Database, environ: dict[str, str]) -> Iterator[Callable[..., Result]]:
    """Yield a function that calls commands; another application's tables stay out of here."""
    if "FLASK_APP" in environ:
        yield partial(run, database, **environ)
        return
    with pytest.MonkeyPatch.context() as patch:
        cli = in_process(database, patch)
        for name, value in environ.items():
            patch.setenv(name, value)
        yield cli


def _name(database: Database) -> str | None:
    return make_url(database.url).database
