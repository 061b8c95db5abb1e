"""Environment: which migrations Alembic is given, apart from an application's own Flask-Migrate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .. import migrations
from ..extensions import db, this_app
from ..settings import config
from . import status

if TYPE_CHECKING:
    from flask_migrate import Migrate


def upgrade() -> None:
    """Bring every branch of this application to its head.

    :raises NotReady: the migrations are not one line.
    """
    from alembic import command
    from alembic.config import Config

    folder = config.migrations_folder()
    alembic = Config(str(folder / "alembic.ini"))
    alembic.set_main_option("script_location", str(folder).replace("%", "%%"))
    command.upgrade(_with_branches(alembic), "heads")


@contextmanager
def bind_commands() -> Iterator[Migrate]:
    """Have Flask-Migrate's commands work on our migrations, as long as one of them runs.

    An application's own Flask-Migrate gets its place back.
    """
    from flask_migrate import Migrate

    migrate = Migrate(db=db, directory=str(config.migrations_folder()))
    migrate.configure(_with_branches)
    extensions = this_app().extensions
    own = extensions.get("migrate")
    extensions["migrate"] = SimpleNamespace(
        migrate=migrate,
        db=db,
        metadata=db.metadata,
        directory=migrate.directory,
        configure_args=migrate.alembic_ctx_kwargs,
    )
    try:
        yield migrate
    finally:
        del extensions["migrate"]
        if own is not None:
            extensions["migrate"] = own


def _with_branches(alembic: Any) -> Any:
    """Tell Alembic the folders of this application's branches; what ``-d`` names stays alone.

    :raises NotReady: the migrations are not one line.
    """
    if alembic.get_main_option("script_location") == str(config.migrations_folder()):
        status.check_files()
        # Alembic walks down the first folder first, so what stands on the others comes first.
        folders = [str(branch.folder) for branch in reversed(migrations.folders(this_app()))]
        locations = os.pathsep.join(folders).replace("%", "%%")
        alembic.set_main_option("version_locations", locations)
    return alembic


def place_of_new_migration() -> dict[str, str]:
    """Return the options that make Flask-Migrate write into the application's folder.

    Empty where it has none.

    :raises NotReady: the migrations are not one line.
    """
    status.check_files()
    own = migrations.application_branch(this_app())
    if own is None:
        return {}
    if own.head is None:
        return {"version_path": str(own.folder), "head": "base", "branch_label": own.label}
    return {"version_path": str(own.folder), "head": f"{own.label}@head"}


def target_revision(revision: str, *, is_script: bool = False) -> str:
    """Return the revision for Alembic, which has a branch or several.

    Every head for ``head``; a step such as ``-1`` is one of the last branch, as that stands
    on the others.
    """
    if revision == "head":
        return "heads"
    if not (revision[:1] in ("+", "-") and revision[1:].isdigit()):
        return revision
    last = migrations.branches(this_app())[-1].label
    return f"{last}@head:{last}@{revision}" if is_script else f"{last}@{revision}"
