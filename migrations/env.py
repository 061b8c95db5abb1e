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

from opsapp import migrations
from opsapp.database import migration_run
from opsapp.extensions import db, this_app
from opsapp.models import indexes as indexes  # they join the metadata that is compared
from opsapp.models import types


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
        url=db.our_engine.url.render_as_string(hide_password=False),
        target_metadata=db.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},  # Else a percent sign would be doubled.
        transactional_ddl=True,
        on_version_apply=migration_run.note_step,
        version_table=migrations.VERSION_TABLE,
        starting_rev=context.get_starting_revision_argument(),
    )
    migration_run.begin_script()
    with context.begin_transaction():
        context.run_migrations()
        migration_run.record_in(migration_run.Script(context.get_context()))


@contextmanager
def _connection(changing: bool) -> Iterator[sa.Connection]:
    with migration_run.lock() if changing else nullcontext(), db.our_engine.connect() as connection:
        if changing:
            migration_run.prepare(connection)
        # A map of schemas is for the tables of the application that has set it.
        yield connection.execution_options(writing=changing, schema_translate_map=None)


def _number(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Number a new migration: the code reads the newest one from the file names."""
    is_compared = getattr(context.config.cmd_opts, "autogenerate", False)
    if is_compared and directives and directives[0].upgrade_ops.is_empty():
        directives.clear()
        context.config.print_stdout("No changes in schema detected.")
    for directive in directives:
        label = directive.branch_label or directive.head.partition("@")[0]
        for branch in migrations.folders(this_app()):
            if branch.label == label:
                directive.rev_id = branch.next_revision


def _render(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Write a column type of ours as what it is in the database: a migration imports no model."""
    if kind == "type" and type(item).__module__ == types.__name__:
        return f"sa.{item.impl_instance!r}"
    return False


def run_online() -> None:
    changing = _is_changing()
    with _connection(changing) as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            transactional_ddl=True,
            on_version_apply=migration_run.note_step,
            version_table=migrations.VERSION_TABLE,
            process_revision_directives=_number,
            render_item=_render,
            compare_type=True,
            render_as_batch=True,
        )
        with context.begin_transaction():
            run = context.get_context()
            if not run.purge:  # `flask db stamp --purge` forgets them, whosever they are.
                migration_run.refuse_unknown(run.get_current_heads())
            if changing:
                migration_run.take_gate(connection)
            with migration_run.explain_failure() if changing else nullcontext():
                context.run_migrations()
            if changing:
                migration_run.record(connection)
                migration_run.check(connection)


if context.is_offline_mode():
    run_offline()
else:
    run_online()
