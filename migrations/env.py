"""How a migration runs: alone, in one transaction, and audited.

Every Alembic verb that changes the database holds the migration lock and then
the gate; the schema, its revision and the audit event are committed together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from flask import current_app

from opsapp import config, migrations
from opsapp.database import migration_run
from opsapp.extensions import this_app
from opsapp.models import indexes as indexes  # they join the metadata that is compared
from opsapp.models import types

target = current_app.extensions["migrate"].db


def _is_changing() -> bool:
    """Return whether this verb moves the revision; ``current`` and ``check`` only read."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def run_offline() -> None:
    """Write the SQL that would run to stdout, and what is written besides: head and event."""
    context.configure(
        url=target.engine.url.render_as_string(hide_password=False),
        target_metadata=target.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},  # Else a percent sign would be doubled.
        transactional_ddl=True,
        on_version_apply=migration_run.note_step,
    )
    migration_run.begin_script()
    with context.begin_transaction():
        context.run_migrations()
        migration_run.record_in(migration_run.Script(context.get_context()))


@contextmanager
def _connection(changing: bool) -> Iterator[sa.Connection]:
    with migration_run.lock() if changing else nullcontext(), target.engine.connect() as connection:
        if changing:
            migration_run.prepare(connection)
        yield connection.execution_options(writing=changing)


def _number(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Number a new migration: the code reads the newest one from the file names."""
    is_compared = getattr(context.config.cmd_opts, "autogenerate", False)
    if is_compared and directives and directives[0].upgrade_ops.is_empty():
        directives.clear()
        context.config.print_stdout("No changes in schema detected.")
    if directives and current_app.extensions["migrate"].directory == str(
        config.migrations_folder()
    ):
        added = migrations.added(this_app())
        is_added = added is not None and directives[0].version_path == str(added.folder)
        directives[0].rev_id = (added if is_added else migrations.ours()).next_revision


def _render(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Write a column type of ours as what it is in the database: a migration imports no model."""
    if kind == "type" and type(item).__module__ == types.__name__:
        return f"sa.{item.impl_instance!r}"
    return False


def run_online() -> None:
    changing = _is_changing()
    settings: dict[str, Any] = dict(current_app.extensions["migrate"].configure_args)
    settings.setdefault("process_revision_directives", _number)
    settings.setdefault("render_item", _render)
    with _connection(changing) as connection:
        context.configure(
            connection=connection,
            target_metadata=target.metadata,
            transactional_ddl=True,
            on_version_apply=migration_run.note_step,
            **settings,
        )
        with context.begin_transaction():
            run = context.get_context()
            if not run.purge:  # `flask db stamp --purge` forgets them, whosever they are.
                migration_run.refuse_unknown(run.get_current_heads())
            if changing:
                migration_run.take_gate(connection)
            with migration_run.explained() if changing else nullcontext():
                context.run_migrations()
            if changing:
                migration_run.check(connection)
                migration_run.record(connection)


if context.is_offline_mode():
    run_offline()
else:
    run_online()
