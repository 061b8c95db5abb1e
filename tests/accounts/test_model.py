"""Any order of changes: an administrator stays, the chain holds, the audit tells the tables.

Hypothesis chooses sequences of every verb that can take an administrator away. After
each step the accounts, roles and grants are built again from the audit's events alone,
and must be what the tables say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import orm as so

import opsapp
from opsapp import clock
from opsapp.accounts import grants, roles, signin, users
from opsapp.audit.verification import verify
from opsapp.errors import Conflict, NotFound, Refused
from opsapp.extensions import db
from opsapp.models import ADMIN, Grant, Role, User
from opsapp.unit import chain, ledger
from tests.support import PASSWORD, Database, a_unit, close_connections
from tests.support.replay import Replay

TIMES = int(os.environ.get("OPSAPP_EXAMPLES", "1"))
"""The factor on the number of orders that an everyday run tries."""
LAST = "this would leave no active administrator who can sign in"

# Few names, so that the verbs meet each other.
ADA, BOB, CYD = (f"{name}@example.com" for name in ("ada", "bob", "cyd"))
emails = st.sampled_from([ADA, BOB, CYD])
usernames = st.sampled_from(["", "ada", "bob"])
role_names = st.sampled_from(["editor", "viewer", ADMIN])
new_names = st.sampled_from(["editor", "author", ADMIN])
permissions = st.lists(st.sampled_from(["posts:read", "posts:write", "users:read"]), max_size=2)
several = st.lists(emails, min_size=1, max_size=2)


def the_events() -> list[tuple[Any, ...]]:
    query = (
        "SELECT action, subject, before, after FROM ops_audit_events"
        " WHERE subject <> 'database' ORDER BY seq"
    )
    return [tuple(row) for row in db.session.execute(sa.text(query))]


# --- the machine: any verb, in any order --------------------------------------


@contextmanager
def may_be_refused(*losing: str) -> Iterator[None]:
    """Let a service say no; that no administrator would be left only where it is so.

    :param losing: the accounts that the step takes something away from.
    """
    try:
        yield
    except (Refused, NotFound, Conflict) as error:
        db.session.rollback()
        if error.message == LAST:
            assert lasting_administrators() <= set(losing)


def lasting_administrators() -> set[str]:
    """The addresses of who can sign in and administers this forever."""
    query = (
        "SELECT u.email FROM ops_grants g"
        " JOIN ops_roles r ON r.id = g.role_id JOIN ops_users u ON u.id = g.user_id"
        " WHERE r.name = 'admin' AND r.deleted_at IS NULL"
        " AND g.ended_at IS NULL AND g.valid_until IS NULL"
        " AND u.active AND u.deleted_at IS NULL AND u.password IS NOT NULL"
    )
    return set(db.session.scalars(sa.text(query)))


def open_grants(role: str) -> dict[str | None, datetime | None]:
    """When the grants of a role end, by the addresses of who has them."""
    result = sa.select(User.email, Grant.valid_until).join(Grant.user).join(Grant.role)
    opened = result.where(Role.name == role, Role.deleted_at.is_(None), Grant.ended_at.is_(None))
    db.session.rollback()
    return {row[0]: row[1] for row in db.session.execute(opened)}


class Console(RuleBasedStateMachine):
    """The services, called as a door calls them. A subclass says how to start afresh."""

    begin: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        self.had_administrator = False
        self.ends: dict[int, str] = {}
        """Return the audit's values of the grants, by id, whose end was moved into the past."""

    @initialize(administrators=st.lists(emails, max_size=2, unique=True))
    def start(self, administrators: list[str]) -> None:
        type(self).begin()
        grants.grant(ADMIN, administrators, unit=a_unit())

    # Accounts.

    @rule(email=emails, username=usernames, password=st.sampled_from([None, PASSWORD]))
    def create(self, email: str, username: str, password: str | None) -> None:
        with may_be_refused():
            users.create(email, username=username, password=password, unit=a_unit())

    @rule(email=emails, if_exists=st.sampled_from(["error", "keep", "update"]))
    def create_admin(self, email: str, if_exists: str) -> None:
        with may_be_refused():
            users.create_admin(email, password=PASSWORD, if_exists=if_exists, unit=a_unit())
            if if_exists == "update":
                assert email in lasting_administrators()

    @rule(chosen=several)
    def activate(self, chosen: list[str]) -> None:
        with may_be_refused():
            signin.activate(chosen, unit=a_unit())

    @rule(chosen=several)
    def deactivate(self, chosen: list[str]) -> None:
        with may_be_refused(*chosen):
            signin.deactivate(chosen, unit=a_unit())

    @rule(chosen=several)
    def deactivate_where(self, chosen: list[str]) -> None:
        with may_be_refused(*chosen):
            signin.deactivate_where([User.email.in_(chosen)], unit=a_unit())

    @rule(email=emails)
    def delete(self, email: str) -> None:
        with may_be_refused(email):
            users.delete(email, unit=a_unit())

    @rule(email=emails, password=st.sampled_from([PASSWORD, f"another {PASSWORD}"]))
    def set_password(self, email: str, password: str) -> None:
        with may_be_refused():
            signin.set_password(email, password, unit=a_unit())

    @rule(email=emails, new=st.none() | emails, username=st.none() | usernames)
    def update(self, email: str, new: str | None, username: str | None) -> None:
        with may_be_refused():
            users.update(email, email=new, username=username, unit=a_unit())

    # Grants.

    @rule(role=role_names, chosen=several, hours=st.sampled_from([1, 2, None]))
    def grant(self, role: str, chosen: list[str], hours: int | None) -> None:
        end = clock.now() + timedelta(hours=hours) if hours else None
        with may_be_refused(*chosen if end else ()):
            grants.grant(role, chosen, until=end, replace_end=True, unit=a_unit())
            assert {open_grants(role)[email] for email in chosen} == {end}

    @rule(role=role_names, chosen=several)
    def revoke(self, role: str, chosen: list[str]) -> None:
        with may_be_refused(*chosen):
            grants.revoke(role, chosen, unit=a_unit())

    @rule()
    def let_the_time_of_grants_pass(self) -> None:
        ending = sa.select(Grant.id, Grant.valid_until).where(
            Grant.ended_at.is_(None), Grant.valid_until.is_not(None)
        )
        over = clock.now() - timedelta(seconds=1)
        # No unit does this, for no event tells it: time passes behind the console's back.
        with db.engine.execution_options(writing=True).begin() as connection:
            for id, end in connection.execute(ending).all():
                self.ends.setdefault(id, clock.rfc3339(end))
                passed = sa.update(Grant).where(Grant.id == id).values(valid_until=over)
                connection.execute(passed)

    @rule(late=st.booleans())
    def expire(self, late: bool) -> None:
        if late:
            self.let_the_time_of_grants_pass()
        grants.expire(unit=a_unit())
        for role in ("editor", "viewer", "author", ADMIN):
            assert all(end is None or end > clock.now() for end in open_grants(role).values())

    # Roles.

    @rule(name=role_names, allow=permissions)
    def create_role(self, name: str, allow: list[str]) -> None:
        with may_be_refused():
            roles.create(name, allow=allow, unit=a_unit())

    @rule(name=role_names, new_name=new_names)
    def rename_role(self, name: str, new_name: str) -> None:
        with may_be_refused():
            roles.update(name, new_name=new_name, unit=a_unit())

    @rule(name=role_names, edit=st.sampled_from([roles.allow, roles.deny]), named=permissions)
    def edit_role(self, name: str, edit: Callable[..., Any], named: list[str]) -> None:
        with may_be_refused():
            edit(name, named, unit=a_unit())

    @rule(name=role_names, revoke=st.booleans())
    def delete_role(self, name: str, revoke: bool) -> None:
        with may_be_refused():
            roles.delete(name, revoke=revoke, unit=a_unit())

    # What is always true.

    @invariant()
    def once_there_was_an_administrator_there_is_one(self) -> None:
        db.session.rollback()
        self.had_administrator = self.had_administrator or bool(lasting_administrators())
        assert bool(lasting_administrators()) is self.had_administrator

    @invariant()
    def the_audit_tells_the_tables(self) -> None:
        told = Replay(the_events())
        accounts = sa.select(User).where(User.deleted_at.is_(None))
        assert told.accounts == {
            user.reference: {"active": user.active, "password": user.password is not None}
            for user in db.session.scalars(accounts)
        }
        living = sa.select(Role).where(Role.deleted_at.is_(None))
        assert told.roles == {
            role.reference: {"name": role.name, "permissions": role.permissions}
            for role in db.session.scalars(living)
        }
        both = (so.joinedload(Grant.user), so.joinedload(Grant.role))
        opened = sa.select(Grant).options(*both).where(Grant.ended_at.is_(None))
        assert told.held == {
            (grant.user.reference, grant.role.reference): self._end(grant)
            for grant in db.session.scalars(opened)
        }

    def _end(self, grant: Any) -> str | None:
        written = clock.rfc3339(grant.valid_until) if grant.valid_until else None
        return self.ends.get(grant.id, written)

    def teardown(self) -> None:
        # No later change mends a chain, so it is enough to look at the end.
        assert verify()["says"] == "the chain holds"
        db.session.remove()


# --- the runs -----------------------------------------------------------------


def make_people() -> None:
    """Make the accounts and roles that every run begins with."""
    for email, password in ((ADA, PASSWORD), (BOB, PASSWORD), (CYD, None)):
        users.create(email, password=password, unit=a_unit())
    for name in ("editor", "viewer"):
        roles.create(name, allow=["posts:read"], unit=a_unit())
    grants.grant("editor", [ADA, BOB], unit=a_unit())
    grants.grant("viewer", [CYD], until=clock.now() + timedelta(hours=1), unit=a_unit())


def run_console(begin: Callable[[], None], *, examples: int) -> None:
    machine = type("Console", (Console,), {"begin": staticmethod(begin)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * TIMES,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def context(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An application that sends no mail, and whose batches two accounts fill."""
    for name, value in database.environ.items():
        if name.startswith("OPSAPP_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(ledger, "EVENT_EACH", 1)
    with opsapp.without_web():
        app = opsapp.create_app({"OPSAPP_NOTICES": False})
    with app.app_context():
        yield
    close_connections()


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_change_in_any_order_keeps_every_promise_on_sqlite(database: Database) -> None:
    file = database.instance / "opsapp.sqlite"
    make_people()
    db.session.remove()
    close_connections()  # The last one writes what is in the log into the file.
    fresh = file.read_bytes()

    def begin() -> None:
        close_connections()
        for beside in ("-wal", "-shm"):
            Path(f"{file}{beside}").unlink(missing_ok=True)
        file.write_bytes(fresh)

    run_console(begin, examples=40)


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_change_in_any_order_keeps_every_promise_on_postgresql(database: Database) -> None:
    head = f"UPDATE ops_audit_head SET seq = 0, hash = '{chain.GENESIS}'"

    def begin() -> None:
        with db.engine.begin() as connection:
            for statement in (
                "SET LOCAL session_replication_role = replica",  # no trigger fires
                "TRUNCATE ops_users, ops_roles, ops_grants, ops_audit_events, ops_audit_personal,"
                " ops_user_sessions, ops_api_tokens, ops_logins, ops_login_failures,"
                " ops_mail_messages, ops_access_reviews, ops_access_review_items RESTART IDENTITY",
                head,
            ):
                connection.exec_driver_sql(statement)
        roles.ensure_admin(a_unit())
        make_people()

    run_console(begin, examples=20)
