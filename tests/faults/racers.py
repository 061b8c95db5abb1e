"""Processes that race: each makes many changes, and retries where another one kept it waiting."""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from flask import Flask

import opsapp
from opsapp import clock
from opsapp.accounts import grants, roles, signin, users
from opsapp.actors import Actor
from opsapp.errors import Busy, Conflict, NotFound, Refused
from opsapp.models import ADMIN, User
from opsapp.unit.work import Unit
from tests.support import PASSWORD

ADDRESSES = ("ada@example.com", "bob@example.com", "cyd@example.com")
QUICK = {"argon2__rounds": 1, "argon2__memory_cost": 64, "argon2__parallelism": 1}


def _app() -> Flask:
    with opsapp.without_web():
        return opsapp.create_app({"SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS": QUICK})


def _unit() -> Unit:
    return Unit(actor=Actor(kind="os", name="racer"), door="job")


def _revoke(email: str, unit: Unit) -> None:
    grants.revoke(ADMIN, [email], unit=unit)


def _deactivate(email: str, unit: Unit) -> None:
    signin.deactivate([email], unit=unit)


def _delete(email: str, unit: Unit) -> None:
    users.delete(email, unit=unit)


def _give_an_end(email: str, unit: Unit) -> None:
    until = clock.now() + timedelta(hours=1)
    grants.grant(ADMIN, [email], until=until, replace_end=True, unit=unit)


def _deactivate_where(email: str, unit: Unit) -> None:
    references = [email] if email == ADDRESSES[0] else ADDRESSES
    signin.deactivate_where([User.email.in_(references)], unit=unit)


def _create_again(email: str, unit: Unit) -> None:
    users.create_admin(email, password=PASSWORD, if_exists="update", unit=unit)


LOSING = (_revoke, _deactivate, _delete, _give_an_end, _deactivate_where)


def move_administrators(seed: int, rounds: int, seconds: float) -> None:
    """Take administrators away and make them again; print how often each verb ended how."""
    chance = random.Random(seed)  # noqa: S311  (dice, not secrets)
    happened: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    app = _app()
    for _ in range(rounds):
        verb = chance.choice([*LOSING, _create_again, _create_again, _create_again])
        outcome = _outcome(app, verb, chance.choice(ADDRESSES))
        happened[f"{verb.__name__.strip('_')} {outcome}"] += 1
        if time.monotonic() > deadline:
            break
    sys.stdout.write(json.dumps(happened))


def _outcome(app: Flask, verb: Callable[[str, Unit], None], email: str) -> str:
    with app.app_context():
        unit = _unit()
        try:
            verb(email, unit)
        except (Busy, Refused, NotFound, Conflict) as error:
            return error.code
        return "changed" if unit.seq is not None else "already-so"


def append_roles(name: str, count: int) -> None:
    """Create so many roles; a busy database is asked again."""
    app = _app()
    for number in range(count):
        is_made = False
        while not is_made:
            with app.app_context():
                try:
                    roles.create(f"{name}-{number}", unit=_unit())
                    is_made = True
                except Busy:
                    continue


def change_for_ever(name: str, file: str) -> None:
    """Commit units of three events and of one; add the number and id of each to a file."""
    app = _app()
    with Path(file).open("a", buffering=1) as acknowledged, app.app_context():
        for number in itertools.count():
            email, role = f"{name}-{number}@example.com", f"{name}-{number}"
            unit = _unit()
            with unit:
                users.create(email, unit=unit)
                roles.create(role, unit=unit)
                grants.grant(role, [email], unit=unit)
            acknowledged.write(f"{unit.seq} {unit.correlation}\n")
            unit = _unit()
            grants.revoke(role, [email], unit=unit)
            acknowledged.write(f"{unit.seq} {unit.correlation}\n")
