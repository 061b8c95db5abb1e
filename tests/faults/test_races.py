"""Many processes at once: the last administrator stays, no change is lost, no process fails."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from flask import Flask

from opsapp.accounts import users
from tests.faults import tally
from tests.faults.amounts import SEED, times
from tests.faults.judging import actions, assert_promises_kept
from tests.faults.reader import reading
from tests.support import FLASK, PASSWORD, Database, Result, a_unit
from tests.support.processes import ended, start, start_work
from tests.support.templates import Templates

PROCESSES = 8
ROUNDS = times(60, 1250)
"""Of each process: in the long form 10,000 transactions in all."""


# --- processes ---------------------------------------------------------------


def flask_at_once(database: Database, *args: str) -> list[Result]:
    """Run the same ``flask`` command in eight processes."""
    return [ended(process) for process in [start(database, FLASK, *args) for _ in range(PROCESSES)]]


# --- what the processes do ---------------------------------------------------
# Their source is handed to another Python, so they import what they need.


def move_administrators(seed: str, rounds: str, password: str) -> None:
    import json
    import random
    from collections import Counter
    from datetime import timedelta

    import opsapp
    from opsapp import clock
    from opsapp.accounts import grants, signin, users
    from opsapp.actors import Actor
    from opsapp.errors import Busy, Conflict, NotFound, Refused
    from opsapp.models import ADMIN, User
    from opsapp.unit.work import Unit

    addresses = ["ada@example.com", "bob@example.com", "cyd@example.com"]
    chance = random.Random(int(seed))  # noqa: S311  (dice, not secrets)
    quick = {"argon2__rounds": 1, "argon2__memory_cost": 64, "argon2__parallelism": 1}
    with opsapp.without_web():
        app = opsapp.create_app({"SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS": quick})

    def revoke(email: str, unit: Unit) -> None:
        grants.revoke(ADMIN, [email], unit=unit)

    def deactivate(email: str, unit: Unit) -> None:
        signin.deactivate([email], unit=unit)

    def delete(email: str, unit: Unit) -> None:
        users.delete(email, unit=unit)

    def give_an_end(email: str, unit: Unit) -> None:
        until = clock.now() + timedelta(hours=1)
        grants.grant(ADMIN, [email], until=until, replace_end=True, unit=unit)

    def deactivate_where(email: str, unit: Unit) -> None:
        references = addresses if chance.random() < 0.3 else [email]
        signin.deactivate_where([User.email.in_(references)], unit=unit)

    def create_again(email: str, unit: Unit) -> None:
        try:
            users.create_admin(email, password=password, if_exists="update", unit=unit)
        except Busy as error:
            # Seven others delete and make this account all the time; the gate must not be why.
            if "is being changed by another process" not in error.message:
                raise

    losing = [revoke, deactivate, delete, give_an_end, deactivate_where]
    happened: Counter[str] = Counter()
    for _ in range(int(rounds)):
        verb = chance.choice([*losing, create_again, create_again, create_again])
        with app.app_context():
            unit = Unit(actor=Actor(kind="os", name="racer"), door="job")
            try:
                verb(chance.choice(addresses), unit)
                outcome = "changed" if unit.seq is not None else "already so"
            except (Refused, NotFound, Conflict) as error:
                outcome = error.code
        happened[f"{verb.__name__} {outcome}"] += 1
    sys.stdout.write(json.dumps(happened))


def append_roles(name: str, count: str) -> None:
    import opsapp
    from opsapp.accounts import roles
    from opsapp.actors import Actor
    from opsapp.unit.work import Unit

    with opsapp.without_web():
        app = opsapp.create_app()
    for number in range(int(count)):
        with app.app_context():
            unit = Unit(actor=Actor(kind="os", name="racer"), door="job")
            roles.create(f"{name}-{number}", unit=unit)


def database_chain(database: Database) -> str:
    ((chain,),) = database.rows("SELECT chain FROM ops_audit_head")
    return str(chain)


@contextmanager
def administrators_watched(database: Database) -> Iterator[list[int]]:
    """Count the administrators again and again meanwhile, with a reader of no project code."""
    counts: list[int] = []
    over = threading.Event()

    def watch() -> None:
        with reading(database.url, database.instance) as reader:
            while not over.wait(0.001) or not counts:
                counts.append(reader.administrators())
                reader.renew()

    with ThreadPoolExecutor(max_workers=1) as pool:
        watching = pool.submit(watch)
        try:
            yield counts
        finally:
            over.set()
        watching.result()


# --- races -------------------------------------------------------------------


def test_lose_administrators_in_many_processes_always_leaves_one(
    app: Flask, database: Database, kind: str
) -> None:
    for email in ("ada@example.com", "bob@example.com", "cyd@example.com"):
        users.create_admin(email, password=PASSWORD, unit=a_unit())
    with administrators_watched(database) as counts:
        racers = [
            start_work(database, move_administrators, SEED + number, ROUNDS, PASSWORD)
            for number in range(PROCESSES)
        ]
        raced = [ended(racer) for racer in racers]

    assert [(result.exit_code, result.stderr) for result in raced] == [(0, "")] * PROCESSES
    assert min(counts) >= 1
    assert len(counts) > 20
    happened = sum((Counter(result.json) for result in raced), Counter())
    assert happened.total() == PROCESSES * ROUNDS
    # Each verb both took an administrator away and was kept from taking the last one.
    for verb in ("revoke", "deactivate", "delete", "give_an_end", "deactivate_where"):
        assert happened[f"{verb} changed"] > 0, happened
        assert happened[f"{verb} refused"] > 0, happened
    assert_promises_kept(database)
    for said, number in happened.items():
        tally.count("Races", "administrators remove each other", kind, said.split()[1], number)
    counted = "counted meanwhile, at least one"
    tally.count("Races", "administrators remove each other", kind, counted, len(counts))


def test_append_from_many_processes_never_fails_and_leaves_no_gap(
    app: Flask, database: Database
) -> None:
    appended = [
        ended(process)
        for process in [
            start_work(database, append_roles, f"racer-{number}", 25) for number in range(PROCESSES)
        ]
    ]
    assert [(result.exit_code, result.stderr) for result in appended] == [(0, "")] * PROCESSES
    expected = {f"racer-{number}-{n}" for number in range(PROCESSES) for n in range(25)}
    named = [name for (name,) in database.rows("SELECT name FROM ops_roles WHERE name <> 'admin'")]
    assert sorted(named) == sorted(expected)
    seqs = [seq for (seq,) in database.rows("SELECT seq FROM ops_audit_events ORDER BY seq")]
    assert seqs == list(range(1, 2 + len(expected) + 1))  # two are of `flask db init`
    assert_promises_kept(database)


def test_init_in_many_processes_makes_the_database_once(
    empty_database: Database, sqlite_templates: Templates
) -> None:
    done = flask_at_once(empty_database, "db", "init", "--format", "json")
    assert [result.exit_code for result in done] == [0] * PROCESSES, done
    assert len({result.json["revision"] for result in done}) == 1
    # One migrates, the same or another one seeds; who finds it done says so.
    assert 1 <= sum(result.json["changed"] for result in done) <= 2
    events = "SELECT seq, action, subject, before, after FROM ops_audit_events ORDER BY seq"
    alone = sqlite_templates.of()
    raced, made_alone = empty_database.rows(events), alone.rows(events)
    assert [row[:4] for row in raced] == [row[:4] for row in made_alone]
    # The first event names its chain, which is another one for each database.
    chain, revision = json.loads(raced[0][4]), json.loads(made_alone[0][4])["revision"]
    assert (chain["revision"], raced[1:]) == (revision, made_alone[1:])
    assert database_chain(empty_database) == chain["chain"]
    actions = Counter(action for _seq, action, *_ in empty_database.rows(events))
    assert actions["database:schema:upgrade"] == 1
    assert empty_database.rows("SELECT name, builtin FROM ops_roles") == [("admin", True)]
    checked = ended(start(empty_database, FLASK, "audit", "verify", "--format", "json"))
    assert (checked.exit_code, checked.json["ok"], checked.json["events"]) == (0, True, 2)


def test_create_the_same_user_in_many_processes_conflicts_for_all_but_one(
    database: Database,
) -> None:
    done = flask_at_once(database, "users", "create", "same@x.com", "--no-password")
    assert sorted(result.exit_code for result in done) == [0] + [3] * (PROCESSES - 1)
    hint = "flask users show 1, or --if-exists keep"
    exists = f"Error: user same@x.com exists already, with id 1\n  → {hint}\n"
    assert Counter(result.stderr for result in done) == {
        "Done, audit event 3.\n": 1,
        exists: PROCESSES - 1,
    }
    assert database.rows("SELECT id, email FROM ops_users") == [(1, "same@x.com")]


def test_create_the_same_user_in_many_processes_keeps_the_one_that_is_there(
    database: Database,
) -> None:
    done = flask_at_once(
        database,
        *("users", "create", "same@x.com", "--no-password"),
        *("--if-exists", "keep", "--format", "json"),
    )
    assert [result.exit_code for result in done] == [0] * PROCESSES, done
    answers = Counter((result.json["changed"], result.json["id"]) for result in done)
    assert answers == {(True, 1): 1, (False, 1): PROCESSES - 1}
    assert database.rows("SELECT id, email FROM ops_users") == [(1, "same@x.com")]
    created = "SELECT subject FROM ops_audit_events WHERE action = 'user:account:create'"
    assert database.rows(created) == [("user:1",)]


def test_grant_and_revoke_the_same_role_in_many_processes_takes_turns(
    database: Database, ada: str, kind: str
) -> None:
    begun = len(actions(database))
    verbs = [("grant", "revoke")[number % 2] for number in range(times(PROCESSES, 100 * PROCESSES))]
    for turn in range(0, len(verbs), PROCESSES):
        processes = [
            start(database, FLASK, "roles", verb, "admin", "ada@example.com")
            for verb in verbs[turn : turn + PROCESSES]
        ]
        codes = [ended(process).exit_code for process in processes]
        # Ada is the only administrator: to take the role from her is refused.
        expected = [0 if verb == "grant" else 5 for verb in verbs[turn : turn + PROCESSES]]
        assert all(code in (due, 75) for code, due in zip(codes, expected, strict=True)), codes
    assert actions(database)[begun:] == []
    assert_promises_kept(database)
    tally.count(
        "Races", "grant and revoke admin of the only one", kind, "refused or already so", len(verbs)
    )
