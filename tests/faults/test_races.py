"""Many processes at once: the last administrator stays, no change is lost, no process fails."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from flask import Flask

from opsapp.accounts import users
from tests.faults import amounts, tally
from tests.faults.amounts import SEED, times, trials
from tests.faults.judging import actions, assert_promises_kept
from tests.faults.racers import append_roles, move_administrators
from tests.faults.reader import reading
from tests.support import PASSWORD, Database, Result, a_unit, run
from tests.support.forks import forked
from tests.support.templates import Templates

PROCESSES = 8
ROUNDS = times(40, 1250)
"""Of each process: in the long form 10,000 transactions in all."""


# --- processes ---------------------------------------------------------------


def at_once(database: Database, *commands: tuple[str, ...]) -> list[Result]:
    """Run these ``flask`` commands, each in a process of its own, at once."""
    with ThreadPoolExecutor(max_workers=len(commands)) as pool:
        return list(pool.map(lambda words: run(database, *words), commands))


def racing(
    database: Database, work: Callable[..., None], *arguments: tuple[object, ...]
) -> list[Result]:
    """Run a function in a process for each of these arguments, at once."""

    def run_one(own: tuple[object, ...]) -> Result:
        return Result(*forked(work, *own, environ=database.environ, folder=database.instance))

    with ThreadPoolExecutor(max_workers=len(arguments)) as pool:
        return list(pool.map(run_one, arguments))


def flask_at_once(database: Database, *args: str) -> list[Result]:
    """Run the same ``flask`` command in eight processes."""
    return at_once(database, *[args] * PROCESSES)


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
        raced = racing(
            database,
            move_administrators,
            *[(SEED + number, ROUNDS, amounts.share) for number in range(PROCESSES)],
        )

    assert [(result.exit_code, result.stderr) for result in raced] == [(0, "")] * PROCESSES
    assert min(counts) >= 1
    assert len(counts) > 20
    happened = sum((Counter(result.json) for result in raced), Counter())
    assert happened.total() == PROCESSES * ROUNDS or amounts.MINUTES
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
    each = [(f"racer-{number}", 10) for number in range(PROCESSES)]
    appended = racing(database, append_roles, *each)
    assert [(result.exit_code, result.stderr) for result in appended] == [(0, "")] * PROCESSES
    expected = {f"racer-{number}-{n}" for number in range(PROCESSES) for n in range(10)}
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
    checked = run(empty_database, "audit", "verify", "--format", "json")
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
    turns = 0
    for _ in trials(1, 100):
        verbs = ("grant", "revoke") * (PROCESSES // 2)
        done = at_once(database, *[("roles", verb, "admin", ada) for verb in verbs])
        # Ada is the only administrator: to take the role from her is refused.
        expected = [0 if verb == "grant" else 5 for verb in verbs]
        codes = [result.exit_code for result in done]
        assert all(code in (due, 75) for code, due in zip(codes, expected, strict=True)), codes
        turns += PROCESSES
    assert actions(database)[begun:] == []
    assert_promises_kept(database)
    tally.count(
        "Races", "grant and revoke admin of the only one", kind, "refused or already so", turns
    )
