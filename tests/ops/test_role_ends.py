"""Ends of roles whose account or role is gone, or that an application's own code changes."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from opsapp import clock
from opsapp.errors import Conflict, NotFound
from opsapp.models import RoleEnd
from opsapp.ops import grants, offboarding
from opsapp.ops.roles import Relation
from tests.ops.conftest import EMAIL, Attach, Theirs, bob, let_end
from tests.support import a_unit


def let_support_end(theirs: Theirs) -> None:
    bob(theirs)
    grants.grant("support", EMAIL, until=clock.now() + timedelta(hours=1), unit=a_unit())
    let_end(theirs)


def ends(theirs: Theirs) -> list[tuple[str, str]]:
    theirs.db.session.rollback()
    return [(end.subject, end.role) for end in theirs.db.session.scalars(sa.select(RoleEnd))]


def test_end_of_an_account_that_is_deleted_is_swept(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    let_support_end(theirs)
    theirs.db.session.delete(theirs.get(EMAIL))
    theirs.db.session.commit()
    with a_unit() as unit:
        unit.record("user:account:delete", "user:1")
    [row] = grants.expire(unit=a_unit())
    assert (row["changed"], row["user"], row["state"]) == (True, "user:1", "account deleted")
    assert ends(theirs) == []


def test_end_of_an_account_that_is_not_found_stays_and_is_a_finding(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    let_support_end(theirs)
    for statement in (
        "DELETE FROM roles_users",
        'UPDATE "user" SET id = 7',
        "INSERT INTO roles_users (user_id, role_id) SELECT 7, id FROM role WHERE name = 'support'",
    ):
        theirs.db.session.execute(sa.text(statement))
    theirs.db.session.commit()
    count = len(theirs.actions)
    done = theirs.call("roles", "expire", "--format", "json")
    assert done.exit_code == 6
    [row] = done.json["results"]
    assert (row["changed"], row["user"], row["state"]) == (False, "user:1", "account not found")
    assert (ends(theirs), len(theirs.actions)) == ([("user:1", "support")], count)
    [finding] = [
        row
        for row in theirs.call("doctor", "--format", "json").json
        if row["check"] == "ends of roles"
    ]
    assert (finding["state"], finding["says"]) == (
        "fail",
        "support of user:1 has ended, and its account is not found",
    )
    done = theirs.call("roles", "revoke", "support", "user:1", EMAIL, "--yes", "--format", "json")
    assert [row["state"] for row in done.json["results"]] == ["account not found", "revoked"]
    assert (done.exit_code, ends(theirs)) == (0, [])


@pytest.mark.parametrize("verb", ["expire", "revoke", "offboard"])
def test_end_of_a_role_that_is_deleted_goes(attach_to: Attach, verb: str) -> None:
    theirs = attach_to("security_app")
    let_support_end(theirs)
    grants.grant("admin", EMAIL, until=clock.now() + timedelta(hours=1), unit=a_unit())
    let_end(theirs)
    theirs.get(EMAIL).roles = [role for role in theirs.get(EMAIL).roles if role.name == "admin"]
    theirs.db.session.execute(sa.text("DELETE FROM role WHERE name = 'support'"))
    theirs.db.session.commit()
    match verb:
        case "expire":
            rows = grants.expire(unit=a_unit())
            assert [(row["role"], row["state"]) for row in rows] == [
                ("support", "not held"),
                ("admin", "expired"),
            ]
            assert ends(theirs) == []
        case "revoke":
            [row] = grants.revoke("support", EMAIL, unit=a_unit())
            assert (row["changed"], row["state"]) == (True, "not held")
            with pytest.raises(NotFound, match="no role support"):
                grants.revoke("support", EMAIL, unit=a_unit())
            assert ends(theirs) == [("user:1", "admin")]
        case "offboard":
            [row] = offboarding.offboard([EMAIL], unit=a_unit())
            assert (row["roles"], ends(theirs)) == (["admin"], [])


@pytest.mark.parametrize("verb", ["expire", "revoke"])
def test_end_of_a_role_that_is_not_held_any_more_goes(attach_to: Attach, verb: str) -> None:
    theirs = attach_to("security_app")
    let_support_end(theirs)
    theirs.db.session.execute(sa.text("DELETE FROM roles_users"))
    theirs.db.session.commit()
    unit = a_unit()
    rows = {
        "expire": lambda: grants.expire(unit=unit),
        "revoke": lambda: grants.revoke("support", EMAIL, unit=unit),
    }[verb]()
    assert [(row["changed"], row["state"]) for row in rows] == [(True, "not held")]
    assert (unit.committed, ends(theirs)) == (True, [])


def test_role_that_cannot_be_taken_stops_no_other(
    attach_to: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = attach_to("security_app")
    let_support_end(theirs)
    grants.grant("admin", EMAIL, until=clock.now() + timedelta(hours=1), unit=a_unit())
    let_end(theirs)

    def check(_rule: Relation, name: str) -> None:
        if name == "support":
            raise Conflict("each account has a role")

    monkeypatch.setattr(Relation, "check_takeable", check)
    rows = grants.expire(unit=a_unit())
    assert [(row["changed"], row["role"], row["state"]) for row in rows] == [
        (False, "support", "cannot be taken"),
        (True, "admin", "expired"),
    ]
    assert ends(theirs) == [("user:1", "support")]
