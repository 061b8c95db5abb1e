"""The guard: what a statement outside of a unit may not change, and what it is told."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.errors import Refused
from opsapp.extensions import db
from opsapp.models import JobRun, Role, User
from opsapp.unit import guard
from tests.support import a_unit

OURS = (
    "accounts, roles, grants and the audit log change through a unit of work only",
    "a service does that: users.update(…), signin.deactivate(…), grants.grant(…)",
)


def refusal(statement: Any) -> tuple[str, str | None]:
    with pytest.raises(Refused) as raised:
        db.session.execute(statement)
    db.session.rollback()
    return raised.value.message, raised.value.hint


@pytest.mark.parametrize("table", sorted(guard.GUARDED))
@pytest.mark.parametrize("change", [sa.insert, sa.update, sa.delete])
def test_tables_of_the_units_are_changed_in_one_only(app: Flask, table: str, change: Any) -> None:
    model = next(m.class_ for m in User.registry.mappers if m.class_.__tablename__ == table)
    assert refusal(change(model)) == OURS


def test_other_tables_and_statements_are_free(app: Flask) -> None:
    db.session.execute(sa.delete(JobRun))
    db.session.execute(sa.select(Role))
    db.session.execute(sa.text("SELECT 1"))
    db.session.rollback()
    with a_unit() as unit:
        unit.session.execute(sa.update(Role).values(description="in a unit"))


def test_table_of_an_application_is_guarded_once_it_says_so(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_added", set())
    assert guard.guard_table(JobRun) is JobRun
    assert refusal(sa.delete(JobRun)) == (
        "ops_job_runs change through a unit of work only",
        "a service of the application does that: a function that takes unit=",
    )
    with a_unit() as unit:
        unit.session.execute(sa.delete(JobRun))


def test_statement_on_no_table_is_left_to_the_database(app: Flask) -> None:
    with db.engine.connect() as connection:
        joined = sa.update(sa.join(Role, User, Role.id == User.id))
        guard._refuse_outside(connection, joined)


def test_engine_without_protection_is_not_guarded(app: Flask) -> None:
    engine = sa.create_engine(db.engine.url)
    statement = sa.update(Role).values(description="x").where(Role.id == -1)
    with engine.connect() as connection:
        connection.execute(statement)
        connection.rollback()
    guard.protect(engine)
    with engine.connect() as connection, pytest.raises(Refused):
        connection.execute(statement)
    engine.dispose()
