"""Actors as lists show them are filters too."""

from __future__ import annotations

import pytest
from flask import Flask

from opsapp.accounts import roles, users
from opsapp.actors import Actor
from opsapp.audit.events import Filter, events
from opsapp.errors import NotFound
from opsapp.unit.work import Unit
from tests.support import Cli

ACTORS = {
    "root@vm": Actor(kind="os", name="root", host="vm", terminal="none"),
    "root (sudo ada)@vm": Actor(kind="os", name="root", sudo="ada", host="vm"),
    "deploy (for Ada, on call)@vm": Actor(
        kind="os", name="deploy", behind="Ada, on call", host="vm"
    ),
    "root (sudo eve, for Eve (ops))@vm": Actor(
        kind="os", name="root", sudo="eve", behind="Eve (ops)", host="vm"
    ),
    "uid 1001@db_1%": Actor(kind="os", name="uid 1001", host="db_1%"),
    "bob@example.com@10.0.0.1": Actor(kind="user", name="user:2", host="10.0.0.1"),
    "bob@example.com (token ci)@10.0.0.1": Actor(
        kind="user", name="user:2", host="10.0.0.1", token="ci"
    ),
    "bob@example.com (token nightly, two)": Actor(kind="user", name="user:2", token="nightly, two"),
    "user:3 [erased]@::1": Actor(kind="user", name="user:3", host="::1"),
    "stranger@::1": Actor(kind="stranger", name="stranger", host="::1"),
}


@pytest.fixture
def acted(app: Flask, bob: str) -> None:
    """A role that each of the actors created; the account of one is erased."""
    users.create("cyd@example.com", unit=Unit(actor=ACTORS["root@vm"], door="cli"))
    for number, actor in enumerate(ACTORS.values()):
        roles.create(f"role{number}", unit=Unit(actor=actor, door="api"))
    users.delete(["cyd@example.com"], unit=Unit(actor=ACTORS["root@vm"], door="cli"))


def test_every_actor_is_found_as_it_is_listed(app: Flask, acted: None) -> None:
    listed = list(events(Filter(action="role:definition:create"), limit=None))
    assert [event["actor"] for event in listed[1:]] == list(ACTORS)
    for number, label in enumerate(ACTORS):
        same = events(Filter(action="role:definition:create", actor=label), limit=None)
        assert f"role{number}" in [event["subject_name"] for event in same], label


def test_actor_as_listed_is_no_other_actor(app: Flask, acted: None) -> None:
    by = Filter(action="role:definition:create", actor="bob@example.com (token ci)@10.0.0.1")
    assert [event["subject_name"] for event in events(by, limit=None)] == ["role6"]
    with pytest.raises(NotFound, match="no event is by root@elsewhere"):
        list(events(Filter(actor="root@elsewhere"), limit=None))


def test_actor_of_a_command_is_found_as_it_is_listed(cli: Cli, ada: str) -> None:
    [first, *_rest] = cli("audit", "list", "--format", "json").json
    done = cli("audit", "list", "--actor", first["actor"], "--format", "json", check=True)
    assert {event["actor"] for event in done.json} == {first["actor"]}
