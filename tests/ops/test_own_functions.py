"""Functions, methods and types of an application, which run inside of a unit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from opsapp.errors import Invalid, OpsError
from opsapp.ops import accounts
from opsapp.ops.subjects import this_identity
from tests.apps import bitmask_app
from tests.ops.conftest import Attach
from tests.ops.test_users_services import WORD, ada
from tests.support import a_unit


def test_time_of_a_type_of_the_application_is_a_time(attach_to: Attach) -> None:
    theirs = attach_to("bitmask_app")
    values = {"member_since": "2026-01-02T03:04:05Z"}
    accounts.create("ada@example.com", values=values, unit=a_unit())
    since = theirs.get("ada@example.com").member_since
    assert since == datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  (as the database has it)


def test_type_of_the_application_that_fails_on_a_value_is_named(
    attach_to: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_type: bitmask_app.Moment, _value: Any, _dialect: Any) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'astimezone'")

    monkeypatch.setattr(bitmask_app.Moment, "process_bind_param", fail)
    attach_to("bitmask_app")
    with pytest.raises(Invalid) as error:
        accounts.create("bob@example.com", unit=a_unit())
    assert (error.value.message, error.value.hint) == (
        "User refuses a value: 'NoneType' object has no attribute 'astimezone'",
        "User has types of its own for member_since; --set NAME=VALUE gives one a value",
    )


def test_new_account_fulfils_the_condition_of_active_ones(attach_to: Attach) -> None:
    """The application's own accounts wait until their address is confirmed."""

    def set_active(user: bitmask_app.User, active: bool) -> None:
        user.confirmed = active
        theirs.db.session.commit()

    condition = bitmask_app.User.confirmed.is_(True)
    theirs = attach_to("bitmask_app", active=(condition, set_active))
    theirs.add(bitmask_app.Role(name="Administrator", permissions=7))
    admin = accounts.create_admin("ada@example.com", password=WORD, unit=a_unit())
    bob = accounts.create("bob@example.com", password=WORD, unit=a_unit())
    values = {"confirmed": "false"}
    eve = accounts.create("eve@example.com", password=WORD, values=values, unit=a_unit())
    assert [row["status"] for row in (admin, bob, eve)] == ["active", "active", "inactive"]
    assert admin["roles"] == ["Administrator"]


# --- functions of the application ---------------------------------------------------


def test_function_that_commits_is_committed_with_its_event(attach_to: Attach) -> None:
    """Methods such as ``user.save()`` and ``user.delete()`` commit by themselves."""

    def erase(user: Any) -> None:
        theirs.db.session.delete(user)
        theirs.db.session.commit()

    def save(user: Any) -> None:
        theirs.db.session.add(user)
        theirs.db.session.commit()

    theirs = attach_to("flag_app", admin=None, erase=erase, end_sessions=save)
    ada(theirs)
    name = "ada@example.com"
    accounts.set_active(name, False, unit=a_unit(dry_run=True))
    assert theirs.get(name).enabled
    accounts.set_active(name, False, unit=a_unit())
    assert not theirs.get(name).enabled
    accounts.delete(name, unit=a_unit(dry_run=True))
    subject = this_identity().subject(theirs.get(name))
    accounts.delete(name, unit=a_unit())
    assert this_identity().find(theirs.db.session(), name) is None
    assert theirs.actions[-1] == ("user:account:delete", subject)
    # Without a unit they commit as they always did.
    assert "commit" not in vars(theirs.db.session())


def test_function_that_rolls_back_changes_nothing(attach_to: Attach) -> None:
    def erase(user: Any) -> None:
        theirs.db.session.delete(user)
        theirs.db.session.flush()
        theirs.db.session.rollback()

    theirs = attach_to("flag_app", admin=None, erase=erase)
    ada(theirs)
    with pytest.raises(OpsError, match="the application's code rolled the change back") as error:
        accounts.delete("ada@example.com", unit=a_unit())
    assert error.value.exit_code == 1
    assert theirs.get("ada@example.com") is not None
    assert theirs.actions == []


@pytest.mark.parametrize("part", ["erase", "end_sessions", "set_password"])
def test_function_of_the_application_that_fails_is_named(attach_to: Attach, part: str) -> None:
    def fail(*_values: Any) -> None:
        raise LookupError("their own fault")

    theirs = attach_to("flag_app", admin=None, **{part: fail})
    ada(theirs)
    calls = {
        "erase": lambda: accounts.delete("ada@example.com", unit=a_unit()),
        "end_sessions": lambda: accounts.set_active("ada@example.com", False, unit=a_unit()),
        "set_password": lambda: accounts.set_password(
            "ada@example.com", "gourd lantern 41", unit=a_unit()
        ),
    }
    with pytest.raises(OpsError) as error:
        calls[part]()
    assert (error.value.exit_code, error.value.message) == (
        1,
        f"the application's function for {part} failed: LookupError: their own fault",
    )
    assert error.value.hint is not None
    assert error.value.hint.startswith(f"{__file__}, line ")
    assert theirs.actions == []
