"""Listeners of an application that hold the gate: stopped, and named."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from opsapp.errors import TimedOut
from opsapp.ops import accounts, limit
from opsapp.ops.subjects import this_identity
from tests.ops.conftest import Attach, Theirs
from tests.support import a_unit


def index_for_search(*_args: Any) -> None:
    """Wait for a service that never answers."""
    threading.Event().wait()


@pytest.fixture
def kind() -> str:
    """Python code is stopped, on either database."""
    return "sqlite"


@pytest.fixture
def slow(attach_to: Attach, monkeypatch: pytest.MonkeyPatch) -> Theirs:
    monkeypatch.setattr(limit, "SECONDS", 0.2)
    theirs = attach_to("flag_app", admin=None)
    theirs.add(theirs.module.User(email="ada@example.com", domain_name="example.com"))
    return theirs


@pytest.mark.parametrize("name", ["before_flush", "after_flush", "before_commit"])
def test_listener_that_holds_the_gate_is_named(slow: Theirs, name: str) -> None:
    session = slow.db.session
    sa.event.listen(session, name, index_for_search)
    try:
        with pytest.raises(TimedOut) as error:
            accounts.set_active("ada@example.com", False, unit=a_unit())
    finally:
        sa.event.remove(session, name, index_for_search)
    assert error.value.message == (
        "index_for_search of tests.ops.test_limit took longer than 0 seconds,"
        " while other changes waited; nothing was changed"
    )
    assert slow.actions == []
    assert this_identity().status(slow.get("ada@example.com")) == "active"
    accounts.set_active("ada@example.com", False, unit=a_unit())
    assert this_identity().status(slow.get("ada@example.com")) == "inactive"


def test_another_thread_has_no_limit(slow: Theirs) -> None:
    errors: list[BaseException] = []

    def change() -> None:
        try:
            with slow.app.app_context():
                accounts.set_active("ada@example.com", False, unit=a_unit())
                slow.db.session.remove()
        except BaseException as error:  # noqa: BLE001  (the test tells it)
            errors.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert errors == []
