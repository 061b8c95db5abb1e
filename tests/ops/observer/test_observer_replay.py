"""The chain's events, replayed, are the accounts as they are: after any sequence of changes."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.audit import events, verification
from opsapp.extensions import db
from tests.apps.relation_app import Group, Role, User
from tests.ops.observer.observing import Theirs

LENGTH = 120
State = dict[str, dict[str, Any]]


class Play:
    """Random changes of accounts by an application's code."""

    def __init__(self, theirs: Theirs, seed: int) -> None:
        self.theirs = theirs
        self.session = theirs.session
        self.random = Random(seed)  # noqa: S311  (a sequence, not a secret)
        self.names = 0
        self.session.add_all([Role(name=name) for name in ("Admin", "Editor", "Author")])
        self.session.add_all([Group(name=name) for name in ("staff", "guests")])
        self.session.commit()

    def run(self) -> None:
        moves = [self.create, self.change, self.change, self.change, self.relate, self.relate]
        moves += [self.delete, self.bulk, self.bulk_delete, self.savepoint, self.flush]
        moves += [self.commit, self.commit, self.rollback, self.expire, self.seal]
        for _step in range(LENGTH):
            self.random.choice(moves)()
        self.session.commit()
        assert self.theirs.seal()

    def user(self) -> User | None:
        users = self.session.scalars(sa.select(User).order_by(User.id)).all()
        return self.random.choice(users) if users else None

    def a_role(self) -> Role:
        return self.random.choice(self.session.scalars(sa.select(Role).order_by(Role.id)).all())

    def create(self) -> None:
        self.names += 1
        name = f"user{self.names}"
        roles = [self.a_role()] if self.random.random() < 0.5 else []
        self.session.add(User(username=name, email=f"{name}@x.org", active=True, roles=roles))

    def change(self) -> None:
        user = self.user()
        if user is None:
            return
        self.names += 1
        key, value = self.random.choice(
            [
                ("active", self.random.choice([True, False, None])),
                ("email", f"other{self.names}@x.org"),
                ("password", self.random.choice(["a hash", None])),
                ("username", self.random.choice([None, f"name{self.names}"])),
            ]
        )
        setattr(user, key, value)

    def relate(self) -> None:
        user, role = self.user(), self.a_role()
        if user is not None:
            if role in user.roles:
                user.roles.remove(role)
            else:
                user.roles.append(role)

    def delete(self) -> None:
        user = self.user()
        if user is not None and self.random.random() < 0.3:
            self.session.delete(user)

    def bulk(self) -> None:
        value = self.random.choice([True, False])
        some = User.id % 3 == self.random.randrange(3)
        self.session.execute(sa.update(User).where(some).values(active=value))

    def bulk_delete(self) -> None:
        self.session.flush()
        some = sa.and_(User.id % 5 == self.random.randrange(5), ~User.roles.any())
        self.session.execute(sa.delete(User).where(some))

    def savepoint(self) -> None:
        with self.session.begin_nested() as savepoint:
            for move in (self.change, self.relate, self.create):
                move()
            if self.random.random() < 0.5:
                self.session.flush()
                savepoint.rollback()

    def flush(self) -> None:
        self.session.flush()

    def commit(self) -> None:
        self.session.commit()

    def rollback(self) -> None:
        if self.random.random() < 0.4:
            self.session.rollback()

    def expire(self) -> None:
        self.session.flush()
        self.session.expire_all()

    def seal(self) -> None:
        self.session.commit()
        assert self.theirs.seal()

    def state(self) -> State:
        return {
            f"user:{user.id}": {
                "active": user.active,
                "email": user.email,
                "password": user.password and "set",
                "username": user.username,
                "roles": sorted(f"roles:{role.name}" for role in user.roles),
            }
            for user in self.session.scalars(sa.select(User))
        }


def replayed(told: list[dict[str, Any]]) -> State:
    state: State = {}
    empty = {"active": None, "email": None, "password": None, "username": None, "roles": []}
    for event in told:
        subject, before, after = event["subject"], event["before"] or {}, event["after"] or {}
        match event["action"]:
            case "user:account:create":
                assert subject not in state
                state[subject] = {**empty, **after, "roles": []}
            case "user:account:update":
                assert before == {key: state[subject][key] for key in before}
                state[subject] |= after
            case "user:role:grant":
                assert after["role"] not in state[subject]["roles"]
                state[subject]["roles"] = sorted([*state[subject]["roles"], after["role"]])
            case "user:role:revoke":
                state[subject]["roles"].remove(before["role"])
            case "user:account:delete":
                del state[subject]
    return state


@pytest.mark.parametrize("seed", range(6))
def test_events_replayed_are_the_accounts(theirs: Theirs, app: Flask, seed: int) -> None:
    play = Play(theirs, seed)
    play.run()
    assert theirs.waiting() == []
    with app.app_context():
        db.session.rollback()
        told = [event for event in events.events(limit=None) if event["seq"] > 2]
        assert verification.verify()["ok"]
    assert len(told) > LENGTH / 5
    assert replayed(told) == play.state()
