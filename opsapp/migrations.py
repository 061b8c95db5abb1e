"""Branches of migrations: ours, and that of an application, each in a folder of its own.

Each has its row in ``ops_alembic_version``, so none hides how far another is, and a console
without the application still knows its own revisions.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm as so

from .settings import config
from .state import ACCOUNTS, CORE, EXTENSION

_ADDED = "opsapp-branch"
VERSION_TABLE = "ops_alembic_version"
"""Its own, so that an application's Flask-Migrate, with its ``alembic_version``, is left alone."""
_LABEL = re.compile(r"[a-z]{1,28}")
REVISION_LENGTH = 32
"""Characters of the column of the version table."""
_PRESENT = sa.select(sa.column("version_num", sa.String)).select_from(sa.table(VERSION_TABLE))
MARK_LENGTH = 5
_MARKS = "bcdfghjkmnpqrstvwxz"
"""Letters that make no word."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of migrations: files ``LABELnnnnmark_verb_noun.py``.

    The number is the place in the line. The mark is random, so that what two developers
    write at the same place is never taken for one migration; those before it have none.
    """

    label: str
    folder: Path

    @property
    def files(self) -> list[Path]:
        """Every file that Alembic would take for a migration."""
        paths = sorted(self.folder.glob("*.py"))
        return [path for path in paths if not path.name.startswith((".#", "__init__"))]

    @property
    def revisions(self) -> list[str]:
        """The revisions that this code knows, by the files' names."""
        names = (path.name.partition("_") for path in self.folder.glob(f"{self.label}*_*.py"))
        return [revision for revision, _, _ in names if self.has(revision)]

    @property
    def head(self) -> str | None:
        """The newest revision that this code knows, by the files' names; None before the first.

        Alembic finds the same by importing every migration, at 0.1 s a command; a
        test keeps both answers equal.
        """
        return self._newest(self.revisions)

    @property
    def following(self) -> str:
        """The place in the line of the next migration, without a mark."""
        return f"{self.label}{self.number(self.head) + 1:04d}"

    @property
    def next_revision(self) -> str:
        """The revision that the next migration will be."""
        length = min(MARK_LENGTH, REVISION_LENGTH - len(self.following))
        return self.following + "".join(secrets.choice(_MARKS) for _ in range(length))

    def number(self, revision: str | None) -> int:
        """Return the place in the line of a revision of this branch; 0 is before the first."""
        return int(revision[len(self.label) :][:4]) if revision else 0

    def mark(self, revision: str) -> str:
        """Return the mark of a revision, empty where it has none."""
        return revision[len(self.label) + 4 :] if self.has(revision) else ""

    def has(self, revision: str) -> bool:
        """Return whether a revision is of this branch."""
        return re.fullmatch(rf"{self.label}\d{{4}}[a-z]{{0,{MARK_LENGTH}}}", revision) is not None

    def at(self, present: Collection[str]) -> str | None:
        """Return the revision of this branch among those that are present."""
        return self._newest(filter(self.has, present))

    def _newest(self, revisions: Iterable[str]) -> str | None:
        return max(revisions, key=lambda revision: (self.number(revision), revision), default=None)


def add(app: Flask, label: str, folder: Path) -> Branch:
    """Have ``flask db`` look after the migrations of ``folder``, after ours.

    :param label: small letters; the revisions are ``LABEL0001``, ``LABEL0002`` and so on.
    """
    if not _LABEL.fullmatch(label):
        raise ValueError(f"{label!r} is not a label of lower-case letters")
    if label in (CORE, ACCOUNTS):
        raise ValueError(f"{label!r} is a label of opsapp's own")
    branch = app.extensions[_ADDED] = Branch(label, folder.resolve())
    return branch


def our_branch(label: str) -> Branch:
    """Return a branch that ships with opsapp.

    :param label: ``core`` or ``accounts``.
    """
    return Branch(label, config.migrations_folder() / label)


def application_branch(app: Flask) -> Branch | None:
    """Return the branch of the application; None where it has none."""
    return app.extensions.get(_ADDED)


def ours(app: Flask) -> list[Branch]:
    """Return the branches of opsapp that the application has.

    ``core``; and ``accounts``, if it is built on opsapp and has no accounts of its own.
    """
    return [our_branch(label) for label in app.extensions[EXTENSION].branches]


def folders(app: Flask) -> list[Branch]:
    """Return the branches of the application, each behind those that it stands on.

    Its own may have no migration yet.
    """
    own = application_branch(app)
    return ours(app) if own is None else [*ours(app), own]


def branches(app: Flask) -> list[Branch]:
    """Return the branches of the application that have a migration, in the same order."""
    return [branch for branch in folders(app) if branch.head]


def present(session: so.Session) -> Sequence[str]:
    """Return every revision that is written in the database."""
    return session.scalars(_PRESENT).all()


def heads(app: Flask) -> list[str]:
    """Return every revision that a database which is ready has."""
    return [head for branch in folders(app) if (head := branch.head)]
