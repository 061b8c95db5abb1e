"""The migrations of an application beside ours: a second branch, in a folder of its own.

Both branches have their row in ``alembic_version``, so neither hides how far the
other is, and a console without the application still knows its own revision.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

from . import config

EXTENSION = "opsapp-branch"
_LABEL = re.compile(r"[a-z]{1,28}")


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of migrations: files ``LABELnnnn_verb_noun.py`` of a folder; ours have no label."""

    label: str
    folder: Path

    @property
    def head(self) -> str | None:
        """The newest revision that this code knows, by the files' names; None before the first.

        Alembic finds the same by importing every migration, at 0.1 s a command; a
        test keeps both answers equal.
        """
        length = len(self.label) + 4
        found = (path.name[:length] for path in self.folder.glob(f"{self.label}*_*.py"))
        return max((name for name in found if self.has(name)), default=None)

    @property
    def following(self) -> str:
        """The revision that the next migration will be."""
        return f"{self.label}{int((self.head or '0000')[-4:]) + 1:04d}"

    def has(self, revision: str) -> bool:
        """Whether a revision is of this branch."""
        return re.fullmatch(rf"{self.label}\d{{4}}", revision) is not None

    def at(self, present: Collection[str]) -> str | None:
        """Which of the revisions that are present is this branch's."""
        return max(filter(self.has, present), default=None)


def add(app: Flask, label: str, folder: Path) -> Branch:
    """Have ``flask db`` look after the migrations of ``folder``, after ours.

    :param label: small letters; the revisions are ``LABEL0001``, ``LABEL0002`` and so on.
    """
    if not _LABEL.fullmatch(label):
        raise ValueError(f"{label!r} is no label of small letters")
    found = app.extensions[EXTENSION] = Branch(label, folder.resolve())
    return found


def ours() -> Branch:
    """The branch that ships with opsapp."""
    return Branch("", config.migrations_folder() / "versions")


def added(app: Flask) -> Branch | None:
    """The branch of the application; None where it has none."""
    return app.extensions.get(EXTENSION)


def every(app: Flask) -> list[Branch]:
    """Ours, then the application's, if it has a migration yet."""
    own = added(app)
    return [ours(), own] if own is not None and own.head else [ours()]


def heads(app: Flask) -> list[str]:
    """Every revision that a database which is ready has."""
    return [head for branch in every(app) if (head := branch.head)]
