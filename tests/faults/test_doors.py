"""Commands, API and shell at once on the same accounts: an administrator and every promise stay."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tests.faults import amounts, tally
from tests.faults.amounts import dice, times, trials
from tests.faults.commands import ROLES
from tests.faults.judging import actions, assert_promises_kept
from tests.faults.test_races import administrators_watched, at_once
from tests.support import PASSWORD, Cli, Database, Result, run
from tests.support.processes import gate_held
from tests.support.server import served
from tests.support.web import Program

ADDRESSES = ("ada@example.com", "bob@example.com", "cyd@example.com")
DEPUTY = "dee@example.com"
"""An administrator for a while, who does not count as the last one and is not in the race."""
SHELLS, REQUESTERS, COMMANDERS = 2, 3, 3
HONEST_CODES = {0, 3, 4, 5, 75}
HONEST_STATUSES = {200, 204, 401, 403, 404, 409, 503}

SHELL = """
import random, time
from collections import Counter
from opsapp.errors import OpsError

addresses, chance, outcomes = {addresses}, random.Random({seed}), Counter()
verbs = [
    lambda user: grants.revoke("admin", [user]),
    lambda user: signin.deactivate([user]),
    lambda user: users.delete(user),
    lambda user: grants.grant("admin", [user]),
    lambda user: signin.activate([user]),
]
deadline = time.monotonic() + float("{seconds}")
for _ in range({rounds}):
    if time.monotonic() > deadline:
        break
    try:
        chance.choices(verbs, [4, 4, 1, 6, 6])[0](chance.choice(addresses))
        outcomes["done"] += 1
    except OpsError as error:
        outcomes[error.code] += 1
print(*(f"{{code}}={{number}}" for code, number in outcomes.items()))
"""


@dataclass
class Account:
    """An administrator of the race, as it is after it was made (again)."""

    email: str
    id: int = 0
    token: str = ""

    def make(self, database: Database) -> Result:
        """Make it an administrator that can sign in, and give it a token."""
        words = ("users", "create-admin", self.email, "--if-exists", "update", "--password-stdin")
        made = run(database, *words, "--format", "json", stdin=PASSWORD)
        if made.exit_code == 0:
            self.id = made.json["id"]
            name = f"t{time.monotonic_ns()}"
            created = run(database, "users", "tokens", "create", self.email, name, "-q")
            assert created.exit_code in HONEST_CODES, created
            self.token = created.stdout.strip()
        return made


# --- the three doors ---------------------------------------------------------------


class Race:
    """The processes that change the administrators, and how each change ended, by its door."""

    def __init__(self, database: Database, url_client: Callable[[str], Program]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.accounts = [Account(email) for email in ADDRESSES]
        self._database = database
        self._program = url_client
        self._over = threading.Event()
        for account in self.accounts:
            assert account.make(database).exit_code == 0
        self._deputy = Account(DEPUTY)
        assert self._deputy.make(database).exit_code == 0
        until = ("--for", "30d", "--replace-end")
        run(database, "roles", "grant", "admin", DEPUTY, *until, check=True)

    def run(self, rounds: int) -> None:
        """Race until the shells and the requests have made so many changes each."""
        with ThreadPoolExecutor() as pool:
            commands = [pool.submit(self._command, dice("c", n)) for n in range(COMMANDERS)]
            others = [pool.submit(self._shell, n, rounds) for n in range(SHELLS)]
            others += [
                pool.submit(self._request, dice("r", n), rounds // 3) for n in range(REQUESTERS)
            ]
            try:
                for other in others:
                    other.result()
            finally:
                self._over.set()
            for command in commands:
                command.result()

    def _command(self, chance: random.Random) -> None:
        while not self._over.is_set():
            account = chance.choice(self.accounts)
            lose = (
                ("roles", "revoke", "admin", account.email),
                ("users", "deactivate", account.email, "--yes"),
                ("users", "delete", account.email, "--yes"),
            )
            if chance.random() < 0.5:
                done = account.make(self._database)
            else:
                done = run(self._database, *chance.choice(lose))
            assert done.exit_code in HONEST_CODES, done
            self.outcomes[f"command: exit {done.exit_code}"] += 1

    def _request(self, chance: random.Random, rounds: int) -> None:
        for _ in trials(rounds, rounds):
            # The token of an account in the race has often ended.
            by = chance.choice([self._deputy, chance.choice(self.accounts)])
            on = chance.choice(self.accounts)
            verbs: tuple[tuple[str, str, dict[str, bool] | None], ...] = (
                ("DELETE", f"/api/users/{on.id}/roles/admin", None),
                ("PATCH", f"/api/users/{on.id}", {"active": False}),
                ("PUT", f"/api/users/{on.id}/roles/admin", {}),
                ("PATCH", f"/api/users/{on.id}", {"active": True}),
                ("DELETE", f"/api/users/{on.id}", None),
            )
            method, path, body = chance.choices(verbs, [4, 4, 6, 6, 1])[0]
            options = {} if body is None else {"json": body}
            answer = self._program(by.token)(method, path, headers={"If-Match": "*"}, **options)
            assert answer.status_code in HONEST_STATUSES, (method, path, answer.text)
            self.outcomes[f"API: {answer.status_code}"] += 1

    def _shell(self, seed: int, rounds: int) -> None:
        code = SHELL.format(addresses=ADDRESSES, seed=seed, rounds=rounds, seconds=amounts.share)
        done = run(self._database, "shell", "--write", "--reason", "race", "-c", code)
        assert (done.exit_code, done.stderr) == (0, ""), done
        for outcome in done.stdout.split():
            code, number = outcome.split("=")
            assert code in {"done", "refused", "not-found", "conflict", "busy"}, done
            self.outcomes[f"shell: {code}"] += int(number)


def test_lose_administrators_by_every_door_always_leaves_one(database: Database, kind: str) -> None:
    with served(database) as site:
        race = Race(database, lambda token: Program(site.wire(), token))
        with administrators_watched(database) as counts:
            race.run(times(15, 2500))
    assert min(counts) >= 1
    assert_promises_kept(database)
    for outcome, number in race.outcomes.items():
        tally.count("Races", "administrators, by three doors", kind, outcome, number)
    tally.count("Races", "administrators, by three doors", kind, "counted, >= 1", len(counts))


# --- a token that ends while its requests wait -------------------------------------


@contextmanager
def released_soon(database: Database, seconds: float) -> Iterator[None]:
    """Hold the gate, and let go of it after so many seconds; any moment will do."""
    with gate_held(database) as gate, ThreadPoolExecutor(max_workers=1) as pool:

        def release() -> None:
            time.sleep(seconds)
            gate.exec_driver_sql("ROLLBACK")

        released = pool.submit(release)
        yield
        released.result()


def test_token_that_is_revoked_changes_nothing_afterwards(
    database: Database, ada: str, cli: Cli, kind: str
) -> None:
    chance = dice("revoke", kind)
    with served(database) as site:
        for number in trials(2, 250):
            secret = cli("users", "tokens", "create", ada, f"t{number}", "-q").stdout.strip()
            program = Program(site.wire(), secret)
            # Its use is written down now, so that only the changes wait.
            assert program("GET", "/api/me").status_code == 200

            def create(n: int, number: int = number, program: Program = program) -> int:
                email = f"u{number}-{n}@example.com"
                return program("POST", "/api/users", json={"email": email}).status_code

            with (
                ThreadPoolExecutor() as pool,
                released_soon(database, chance.uniform(0, 0.5)),
            ):
                answers = [pool.submit(create, n) for n in range(3)]
                revoking = ("users", "tokens", "revoke", ada, f"t{number}", "--yes")
                revoked = pool.submit(run, database, *revoking)
                statuses = [answer.result() for answer in answers]
                assert revoked.result().exit_code == 0, revoked.result()
            _assert_none_after_the_end(database, number, statuses)
            for status in statuses:
                tally.count("Races", "token revoked while it waits", kind, f"answer {status}")
    assert_promises_kept(database)


def _assert_none_after_the_end(database: Database, number: int, statuses: list[int]) -> None:
    """The accounts of this round are those that were acknowledged, made before the end."""
    assert set(statuses) <= {201, 401, 403}, statuses
    made = [status == 201 for status in statuses]
    present = [
        bool(
            database.rows(
                "SELECT 1 FROM ops_users WHERE email = :e", e=f"u{number}-{n}@example.com"
            )
        )
        for n in range(len(statuses))
    ]
    assert present == made
    [(end,)] = database.rows(
        "SELECT max(seq) FROM ops_audit_events WHERE action = 'user:token:revoke'"
    )
    after = "SELECT count(*) FROM ops_audit_events WHERE door = 'api' AND seq > :end"
    assert database.rows(after, end=end) == [(0,)]


# --- a file of roles, and grants ---------------------------------------------------


def test_apply_and_grant_at_once_takes_turns(database: Database, bob: str, kind: str) -> None:
    file = database.instance / "roles.toml"
    file.write_text(ROLES)
    apply = ("roles", "apply", file.name, "--yes")
    assert run(database, *apply).exit_code == 0
    others = (
        ("roles", "revoke", "support", bob),
        ("roles", "grant", "support", bob, "--until", "2090-01-01T00:00:00Z"),
    )
    for _ in trials(1, 150):
        done = at_once(
            database, *(apply, *others) * 2, apply, ("roles", "deny", "support", "users:read")
        )
        assert {result.exit_code for result in done} <= {0, 75}, done
        last = run(database, *apply)
        assert (last.exit_code, run(database, *apply, "--check").exit_code) == (0, 0), last
        assert_promises_kept(database)
        for result in done:
            tally.count("Races", "roles apply, grant, revoke", kind, f"exit {result.exit_code}")


# --- one file in many processes ----------------------------------------------------


def test_import_of_one_file_in_many_processes_makes_each_account_once(
    database: Database, kind: str
) -> None:
    for number in trials(1, 60):
        rows = 3 if number % 10 != 9 else 12_000
        emails = "".join(f"p{number}-{row}@example.com\n" for row in range(rows))
        file = database.instance / f"people{number}.csv"
        file.write_text(f"email\n{emails}")
        [(before,)] = database.rows("SELECT count(*) FROM ops_users")
        events = len(actions(database))
        done = at_once(database, *[("users", "import", file.name)] * 8)
        assert {result.exit_code for result in done} <= {0, 75}, done
        assert run(database, "users", "import", file.name).exit_code == 0
        assert database.rows("SELECT count(*) FROM ops_users") == [(before + rows,)]
        assert actions(database)[events:] == ["user:account:import"] * (1 + rows // 5000)
        assert_promises_kept(database)
        for result in done:
            tally.count("Races", "users import of one file", kind, f"exit {result.exit_code}")
