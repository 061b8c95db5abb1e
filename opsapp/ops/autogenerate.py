"""Keeps the migrations of an application from dropping our tables.

Alembic's autogenerate drops what stands in the database and not in the metadata. So it is told
to leave our tables out, by the arguments that Flask-Migrate passes on to every ``env.py``. An
``env.py`` that ignores them says it itself::

    from opsapp.ops.autogenerate import include_name

    context.configure(…, include_name=include_name)
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


IncludeName = Callable[[str | None, str, MutableMapping[Any, Any]], bool]


def include_name(name: str | None, type_: str, parent_names: MutableMapping[Any, Any]) -> bool:
    """Return false for our tables: Alembic's ``include_name``."""
    return type_ != "table" or name not in our_tables()


def our_tables() -> frozenset[str]:
    """Return the names of every table of ours."""
    from .. import models as models  # they join the metadata
    from ..extensions import db
    from ..migrations import VERSION_TABLE

    return frozenset({*db.metadata.tables, VERSION_TABLE})


class _Chained:
    """Our ``include_name`` before the application's own."""

    def __init__(self, include: IncludeName | None) -> None:
        self.theirs = include

    def __call__(
        self, name: str | None, type_: str, parent_names: MutableMapping[Any, Any]
    ) -> bool:
        if not include_name(name, type_, parent_names):
            return False
        return self.theirs is None or self.theirs(name, type_, parent_names)


def hook(app: Flask) -> None:
    """Have Flask-Migrate leave our tables out, if the application has it."""
    migrate = app.extensions.get("migrate")
    if migrate is not None and not isinstance(_present_hook(migrate), _Chained):
        migrate.configure_args["include_name"] = _Chained(_present_hook(migrate))


def _present_hook(migrate: Any) -> IncludeName | None:
    present: IncludeName | None = migrate.configure_args.get("include_name")
    return present


def obstacle(app: Flask, *, is_in_code: bool) -> tuple[str, str] | None:
    """Return why the next ``flask db migrate`` would drop our tables, and the line to add.

    None if it would not.

    :param is_in_code: whether the application has an ``Ops`` itself.
    """
    migrate = app.extensions.get("migrate")
    if migrate is None:
        return None  # It has no Flask-Migrate; docs/attaching.md has the line for its env.py.
    env = _env_file(app, migrate)
    text = env.read_text(encoding="utf-8", errors="replace") if env.is_file() else ""
    if "opsapp" in text:
        return None
    if text and "configure_args" not in text and "conf_args" not in text:
        line = "include_name=opsapp.ops.autogenerate.include_name"
        reason = f"{env} does not pass on configure_args"
        return reason, f"Add {line} to its context.configure(…)."
    if is_in_code:
        return None
    advice = "Add Ops(app, db) to the application's code, after Migrate."
    return "the application has no Ops", advice


def _env_file(app: Flask, migrate: Any) -> Path:
    return Path(app.root_path).parent.joinpath(migrate.directory or "migrations", "env.py")
