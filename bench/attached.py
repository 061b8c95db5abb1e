"""The cost of observing an application: ``python -m bench.attached``.

The CPU time of the same commits is taken without the observer and with it, in turns and in
one run. Then requests change accounts while a unit holds the gate.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from statistics import median
from time import monotonic, thread_time
from typing import Any

from .installation import Installation, postgresql, postgresql_server, sqlite, workspace
from .measure import ROOT, Row, at_most, compile_everything, say, show

WATCHED, UNWATCHED = 1.25, 1.02
"""The targets: 100 and 5 microseconds, where a commit without the observer takes 400 and 300."""
SAME = 0.8
"""The target of requests a second while a unit holds the gate, as a part of those without one."""
SLOWEST = 2.0
"""Seconds: less than the five that a unit would have had the gate for."""
SECONDS = 5.0
THREADS = 4
MEMORY = "/dev/shm"  # noqa: S108  (what goes there is named by mkdtemp)
_numbers = count()


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.attached", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of each measurement")
    parser.add_argument("--commits", type=int, default=200, help="commits of a round")
    parser.add_argument("--worker", choices=["without", "with", "gate"], help="for itself")
    options = parser.parse_args()
    if options.worker == "gate":
        return _worker_at_the_gate()
    if options.worker:
        return _worker(options.worker, options.commits)
    compile_everything()
    # On a disk a commit takes a thousand times what is measured here.
    if os.access(MEMORY, os.W_OK):
        tempfile.tempdir = MEMORY
    with workspace() as folder, postgresql_server(folder) as server:
        few = sqlite(folder, "observed")
        many = postgresql(server, folder, "observed")
        rows = [
            *_commits("SQLite", few, options.rounds, options.commits),
            *_commits("PostgreSQL", many, options.rounds, options.commits),
            *_at_the_gate(many),
        ]
    return show("Observing an application's own changes", rows)


def _command(installation: Installation, worker: str, commits: int = 0) -> subprocess.Popen[str]:
    program = installation.program(
        sys.executable, "-m", "bench.attached", "--worker", worker, "--commits", str(commits),
        PYTHONPATH=str(ROOT),
        OPSAPP_PROFILING="off",
        THEIR_DATABASE_URL=installation.url.replace("postgresql:", "postgresql+psycopg:"),
        THEIR_MIGRATIONS=str(installation.instance),
    )  # fmt: skip
    return subprocess.Popen(
        program.argv, env=program.env, cwd=program.cwd,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


# --- commits -----------------------------------------------------------------


def _commits(database: str, installation: Installation, rounds: int, commits: int) -> Iterator[Row]:
    workers = []
    for worker in ("without", "with"):
        workers.append(_command(installation, worker, commits))
        _line(workers[-1])  # It is ready; the first has made the tables.
    try:
        for what, target in (("unwatched", UNWATCHED), ("watched", WATCHED)):
            say(f"{what} commits on {database} …")
            pairs = [_pair(workers, what, number) for number in range(rounds)]
            without, observed = (median(side) for side in zip(*pairs, strict=True))
            ratio = median(b / a for a, b in pairs)
            detail = f" ({observed:.0f} : {without:.0f} µs)"
            yield at_most(f"{database}: {what} commit, observed : not", ratio, target, detail)
    finally:
        for worker in workers:
            worker.communicate()


def _pair(workers: list[subprocess.Popen[str]], what: str, number: int) -> tuple[float, float]:
    """Microseconds of CPU of a commit without the observer and with it."""
    turns = workers if number % 2 == 0 else list(reversed(workers))
    figures = {worker.pid: _ask(worker, what) for worker in turns}
    return figures[workers[0].pid], figures[workers[1].pid]


def _ask(worker: subprocess.Popen[str], what: str) -> float:
    assert worker.stdin is not None
    worker.stdin.write(what + "\n")
    worker.stdin.flush()
    return float(_line(worker))


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


def _worker(worker: str, commits: int) -> int:
    with _application(observed=worker == "with") as (app, db, user_id):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for line in sys.stdin:
            key = "username" if line.strip() == "unwatched" else "email"
            with app.app_context():
                seconds = [_commit(db, user_id, key) for _commit_number in range(commits)]
            sys.stdout.write(f"{median(seconds) * 1e6}\n")
            sys.stdout.flush()
    return 0


def _commit(db: Any, user_id: int, key: str) -> float:
    from tests.apps.relation_app import User

    started = thread_time()
    user = db.session.get(User, user_id)
    setattr(user, key, f"{user_id}-{next(_numbers)}@x.org")
    db.session.commit()
    return thread_time() - started


@contextmanager
def _application(*, observed: bool) -> Iterator[tuple[Any, Any, int]]:
    """The application, its database and the id of an account of this process."""
    import opsapp
    from opsapp.ops.listeners import observe
    from opsapp.ops.seal import Sealer
    from tests.apps import relation_app
    from tests.ops.observer.observing import relation_people

    people = relation_people()
    people.watched_names = {"email", "password", "active", "roles", "groups"}
    app, db = relation_app.create_app(), relation_app.db
    with app.app_context():
        db.create_all()
        user = relation_app.User(active=True)
        db.session.add(user)
        db.session.commit()
        user_id = user.id
        # Both have the same in memory: garbage is collected at the same cost.
        console = app.extensions["bench.ours"] = opsapp.create_app()
        sealer = Sealer(console, people.has_administrator)
        if observed:
            observe(app, people, people.has_administrator).sealer = sealer
    yield app, db, user_id


# --- the gate ----------------------------------------------------------------


def _at_the_gate(installation: Installation) -> list[Row]:
    say("requests while a unit holds the gate …")
    worker = _command(installation, "gate")
    stdout, _stderr = worker.communicate()
    changes, free, slowed, slowest, chained = (float(word) for word in stdout.split())
    return [
        Row(
            f"requests that change accounts, {THREADS} threads: a unit holds the gate, none does",
            f"{slowed / free:.2f} ({slowed:,.0f} : {free:,.0f}/s)",
            f"≥ {SAME}",
            slowed / free >= SAME,
        ),
        Row(
            f"the slowest while the gate is held, {SECONDS:.0f} s",
            f"{slowest:.2f} s",
            f"≤ {SLOWEST} s",
            slowest <= SLOWEST,
        ),
        Row(
            f"of their {changes:,.0f} changes chained afterwards",
            f"{chained:,.0f}",
            "all",
            chained >= changes,
        ),
    ]


def _worker_at_the_gate() -> int:
    from opsapp.actors import Actor
    from opsapp.ops.seal import seal
    from opsapp.unit.work import Unit

    with _application(observed=True) as (app, _db, _id):
        _add_route(app)
        console = app.extensions["bench.ours"]
        with console.app_context():
            before = _events()
            free = _requests(app)
            with Unit(actor=Actor(kind="os", name="operator"), door="cli"):
                slowed = _requests(app)
            seal()
            chained = _events() - before
    changes = len(free) + len(slowed)
    figures = (changes, len(free) / SECONDS, len(slowed) / SECONDS, max(slowed), chained)
    sys.stdout.write(" ".join(map(str, figures)) + "\n")
    return 0


def _events() -> int:
    import sqlalchemy as sa

    from opsapp.extensions import db
    from opsapp.models import AuditEvent

    db.session.rollback()
    return db.session.scalar(sa.select(sa.func.count()).select_from(AuditEvent)) or 0


def _add_route(app: Any) -> None:
    from tests.apps.relation_app import User, db

    @app.post("/change/<int:id>/<int:number>")
    def change(id: int, number: int) -> str:
        user = db.session.get(User, id)
        user.email = f"{id}-{number}@x.org"
        db.session.commit()
        return "changed"

    with app.app_context():
        db.session.add_all([User(id=10_000 + number, active=True) for number in range(THREADS)])
        db.session.commit()


def _requests(app: Any) -> list[float]:
    """Seconds of each request of all clients, each of which changes an account."""
    with ThreadPoolExecutor(THREADS) as pool:
        runs = pool.map(lambda number: _client(app, number), range(THREADS))
        return [seconds for run in runs for seconds in run]


def _client(app: Any, number: int) -> list[float]:
    client, seconds = app.test_client(), []
    end = monotonic() + SECONDS
    while (started := monotonic()) < end:
        answer = client.post(f"/change/{10_000 + number}/{next(_numbers)}")
        assert answer.status_code == 200
        seconds.append(monotonic() - started)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
