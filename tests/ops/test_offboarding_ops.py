"""`flask ops users offboard`: what an application's own model can end, and what it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opsapp.errors import Conflict, Refused
from opsapp.ops import accounts, offboarding
from tests.ops.conftest import Attach, Theirs
from tests.support import a_unit


@pytest.fixture
def security(attach_to: Attach) -> Theirs:
    """Flask-Security with Ada, who administers, and Bob with two roles."""
    theirs = attach_to("security_app", erase=lambda user: theirs.db.session.delete(user))
    module = theirs.module
    held = [module.Role(name="support"), module.Role(name="writer")]
    theirs.add(
        module.User(
            email="ada@example.com", active=True, password="hash", fs_uniquifier="a",
            roles=[module.Role(name="admin")],
        ),
        module.User(email="bob@example.com", active=True, fs_uniquifier="b", roles=held),
    )  # fmt: skip
    return theirs


def test_offboard_ends_all_with_a_receipt(security: Theirs, tmp_path: Path) -> None:
    file = tmp_path / "bob.json"
    before = security.get("bob@example.com").fs_uniquifier
    unit = a_unit(reason="left")
    [row] = offboarding.offboard("bob@example.com", receipt=str(file), unit=unit)
    assert unit.effects == ["ends the sessions of bob@example.com"]
    assert row == {
        "changed": True,
        "id": 2,
        "email": "bob@example.com",
        "status": "inactive",
        "roles": ["support", "writer"],
        "sessions": "ended",
        "remaining": [],
    }
    bob = security.get("bob@example.com")
    assert (bob.active, bob.roles) == (False, [])
    assert bob.fs_uniquifier != before
    receipt = json.loads(file.read_text())
    assert (receipt["accounts"], receipt["reason"], len(receipt["events"])) == ([row], "left", 4)
    [again] = offboarding.offboard("bob@example.com", unit=a_unit())
    assert again["changed"] is False


def test_offboard_keeps_an_administrator(security: Theirs, tmp_path: Path) -> None:
    file = tmp_path / "receipt"
    with pytest.raises(Refused):
        offboarding.offboard(["bob@example.com", "1"], receipt=str(file), unit=a_unit())
    assert not file.exists()
    assert security.get("bob@example.com").active is True


def test_offboard_names_the_roles_that_remain(attach_to: Attach) -> None:
    theirs = attach_to("word_app", user="tests.apps.word_app:Person")
    theirs.add(theirs.module.Person(email="bob@example.com", role="writer"))
    [row] = offboarding.offboard("bob@example.com", unit=a_unit())
    assert (row["status"], row["roles"], row["remaining"]) == ("inactive", ["writer"], ["user"])


def test_offboard_needs_a_column_that_deactivates(attach_to: Attach) -> None:
    theirs = attach_to("login_app")
    theirs.add(theirs.module.User(email="bob@example.com"))
    with pytest.raises(Conflict) as error:
        offboarding.offboard("bob@example.com", unit=a_unit())
    assert error.value.message == "User has no column that says whether an account is active"


def test_receipt_of_an_erasure_names_no_address(security: Theirs, tmp_path: Path) -> None:
    file = tmp_path / "receipt"
    accounts.delete("bob@example.com", receipt=str(file), unit=a_unit(reason="Bob asked"))
    written = file.read_text()
    assert "bob" not in written.lower()
    assert json.loads(written)["subject"] == "user:2"
