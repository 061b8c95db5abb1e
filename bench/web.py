"""The cost of the web floor: ``python -m bench.web [--postgresql]``.

A page of accounts from the API runs in turns with a bare Flask view that sends
the same SELECTs and gives the same answer, each served by a gunicorn of its own
from the same database. And of a login, how much is argon2: the rest is ours.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

from .installation import (
    Installation,
    add_accounts,
    postgresql,
    postgresql_server,
    sqlite,
    workspace,
)
from .measure import ROOT, Cost, Pair, Row, compile_everything, middle, once, say, show
from .sign_in import ADMIN, NO_LIMITS, PASSWORD

ACCOUNTS = 100_000
PAGE = "/api/users?limit=50"
SHARE_OF_BARE = 0.6
"""So many requests of the API are to be answered where the bare view answers one."""
SHARE_OF_ARGON2 = 0.9
"""So much of the CPU of a login is to be its one argon2 computation."""

SERVER = "gunicorn --workers 1 --threads 8 --keep-alive 60 --no-control-socket --log-level warning"
CONNECTIONS = 4
"""Enough to keep the worker busy; each is kept alive for its share of a round."""
WARM_UP = 50
"""Pages over each connection before any is counted."""
PATIENCE = 60
"""Seconds that an answer may take on a busy machine."""


def main() -> int:
    """Measure and print; the exit code."""
    options = _options()
    compile_everything()
    database = "PostgreSQL" if options.postgresql else "SQLite"
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        if options.postgresql:
            server = stack.enter_context(postgresql_server(folder))
            installation = postgresql(server, folder, "web")
        else:
            installation = sqlite(folder, "web")
        say(f"{ACCOUNTS:,} accounts …")
        add_accounts(installation, ACCOUNTS)
        token = _add_admin(installation)
        rows = [
            *_listing(installation, token, database, options.rounds, options.pages),
            *_signing_in(installation, options.sign_ins),
        ]
    title = f"The web floor on {database}, {ACCOUNTS:,} accounts"
    return show(f"{title}, medians of {options.rounds} pairs", rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.web", description=__doc__)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    parser.add_argument("--rounds", type=int, default=41, help="pairs for the ratio")
    parser.add_argument("--pages", type=int, default=15, help="of each connection in a round")
    parser.add_argument("--logins", type=int, default=20, help="whose CPU is counted")
    return parser.parse_args()


def _add_admin(installation: Installation) -> str:
    """Make an administrator with a password; a token of theirs."""
    file = installation.instance / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD)
    once(installation.flask("users", "create-admin", ADMIN, "--password-file", str(file)))
    run = once(installation.flask("users", "tokens", "create", ADMIN, "bench", "--quiet"))
    return run.stdout.decode().strip()


# --- a page of accounts --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Site:
    """An application that a gunicorn of its own serves."""

    address: str
    token: str

    def get(self, path: str, times: int = 1) -> bytes:
        """The body of an answer, the last of so many over one connection."""
        with closing(HTTPConnection(self.address, timeout=PATIENCE)) as connection:
            return [self._ask(connection, path) for _ in range(times)][-1]

    def burst(self, pages: int) -> Cost:
        """Return the worker's CPU for so many pages over each connection, and the elapsed time."""
        before, started = float(self.get(METER)), perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self.get, [PAGE] * CONNECTIONS, [pages] * CONNECTIONS))
        wall = perf_counter() - started
        return Cost(float(self.get(METER)) - before, wall, 0, b"")

    def _ask(self, connection: HTTPConnection, path: str) -> bytes:
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"GET {path} → {answer.status}\n{body.decode()}")
        return body


@contextmanager
def _serve(installation: Installation, name: str, token: str) -> Iterator[Site]:
    """Serve one of the applications below, on a port that the system chooses."""
    log = installation.instance / f"{name}.log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("w") as output:
        options = (*SERVER.split(), "--bind", f"fd://{listener.fileno()}", f"bench.web:{name}()")
        program = installation.program(sys.executable, "-m", *options, PYTHONPATH=str(ROOT))
        process = subprocess.Popen(
            program.argv,
            env=program.env,
            cwd=program.cwd,
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        port = listener.getsockname()[1]
    try:
        yield Site(f"127.0.0.1:{port}", token)
    except BaseException as error:
        error.add_note(log.read_text())
        raise
    finally:
        process.terminate()
        process.wait()


def _listing(
    installation: Installation, token: str, database: str, rounds: int, pages: int
) -> list[Row]:
    say(f"GET {PAGE} : a bare view …")
    with (
        _serve(installation, "bare", token) as minimal,
        _serve(installation, "opsapp", token) as served,
    ):
        if json.loads(minimal.get(PAGE)) != json.loads(served.get(PAGE)):
            raise RuntimeError("the bare view answers something else")
        pair = _in_turns(minimal, served, rounds, pages)
    # PostgreSQL works in processes of its own, for both alike: what counts there is time.
    ratio = pair.cpu if database == "SQLite" else pair.wall
    count = pages * CONNECTIONS
    rates = f"{count / pair.b.wall:.0f} : {count / pair.a.wall:.0f}"
    spent = f"{pair.b.cpu / count * 1000:.1f} : {pair.a.cpu / count * 1000:.1f} ms"
    target = f"≥ {SHARE_OF_BARE}"
    return [
        Row(f"GET {PAGE} : bare", f"{ratio:.2f}", target, ratio >= SHARE_OF_BARE),
        Row("  by the worker's CPU", f"{pair.cpu:.2f} ({spent})"),
        Row("  by requests a second", f"{pair.wall:.2f} ({rates})"),
    ]


def _in_turns(a: Site, b: Site, rounds: int, pages: int) -> Pair:
    """Send bursts to both in turns, ``rounds`` times each, after one of each to warm up."""
    a.burst(WARM_UP), b.burst(WARM_UP)
    first: list[Cost] = []
    second: list[Cost] = []
    for number in range(rounds):
        turns = [(a, first), (b, second)]
        for site, costs in turns if number % 2 == 0 else reversed(turns):
            costs.append(site.burst(pages))
    return Pair(
        middle(first),
        middle(second),
        median(burst.cpu / other.cpu for burst, other in zip(first, second, strict=True)),
        median(burst.wall / other.wall for burst, other in zip(first, second, strict=True)),
    )


# --- what is served --------------------------------------------------------------

METER = "/-/cpu"
"""The path at which a worker answers its seconds of CPU."""

SHOWN = "id email username active tf_primary_method created_at idle_since login_count"
"""The columns that the answer is made of."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


def _add_meter(application: Application) -> Application:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] != METER:
            return application(environ, start_response)
        body = str(process_time()).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return answer


def opsapp() -> Application:
    """The whole of it, without the rate limits."""
    from opsapp import create_app

    return _add_meter(create_app(NO_LIMITS))


def bare() -> Application:
    """A bare view of this one answer: no tokens, no checks, no headers."""
    from flask import Flask, jsonify, request, url_for
    from flask.views import MethodView

    app = Flask("bare")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    find = _finder(app)

    class Users(MethodView):
        def get(self) -> Any:
            limit = request.args.get("limit", 50, type=int)
            users = find(limit + 1)
            after = users[limit - 1]["id"] if len(users) > limit else None
            following = after and url_for("users", limit=limit, after=after)
            return jsonify(users=users[:limit], next=following)

    app.add_url_rule("/api/users", view_func=Users.as_view("users"))
    return _add_meter(app)


def _finder(app: Any) -> Callable[[int], list[dict[str, Any]]]:
    """Find accounts and their roles for the bare view, in the same two SELECTs as opsapp.

    One SELECT that joins everything is several times slower on SQLite.
    """
    import sqlalchemy as sa
    from flask_sqlalchemy import SQLAlchemy

    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["OPSAPP_DATABASE_URL"]
    db = SQLAlchemy(app)
    with app.app_context():
        db.reflect()
    users, grants, roles, failures = (
        db.metadata.tables[name]
        for name in ("ops_users", "ops_grants", "ops_roles", "ops_login_failures")
    )
    locked = sa.select(sa.func.max(failures.c.locked_until)).where(failures.c.user_id == users.c.id)
    columns = [
        *(users.c[name] for name in SHOWN.split()),
        locked.scalar_subquery().label("locked_until"),
    ]

    def find(limit: int) -> list[dict[str, Any]]:
        page = sa.select(*columns).where(users.c.deleted_at.is_(None))
        accounts = db.session.execute(page.order_by(users.c.id).limit(limit)).all()
        valid = grants.c.valid_until.is_(None) | (grants.c.valid_until > sa.func.now())
        role_names = (
            sa.select(grants.c.user_id, roles.c.name)
            .join(roles, roles.c.id == grants.c.role_id)
            .where(grants.c.user_id.in_([account.id for account in accounts]))
            .where(grants.c.ended_at.is_(None), valid, roles.c.deleted_at.is_(None))
            .order_by(roles.c.name)
        )
        names: dict[int, list[str]] = {}
        for id, name in db.session.execute(role_names):
            names.setdefault(id, []).append(name)
        return [_record(account, names.get(account.id, [])) for account in accounts]

    return find


def _record(account: Any, roles: list[str]) -> dict[str, Any]:
    status = "active" if account.active else "inactive"
    if account.active and account.locked_until and _utc(account.locked_until) > datetime.now(UTC):
        status = "locked"
    return {
        "id": account.id,
        "email": account.email,
        "username": account.username,
        "status": status,
        "roles": roles,
        "two_factor": account.tf_primary_method is not None,
        "created_at": _text(account.created_at),
        "last_seen_at": _text(account.idle_since) if account.login_count else None,
    }


def _utc(moment: datetime) -> datetime:
    """SQLite's times are naive, PostgreSQL's aware."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return _utc(moment).isoformat().replace("+00:00", "Z")


# --- signing in --------------------------------------------------------------------


def _signing_in(installation: Installation, count: int) -> list[Row]:
    say("signing in …")
    run = f"from bench.sign_in import sign_in; sign_in({count})"
    program = installation.program(sys.executable, "-c", run, PYTHONPATH=str(ROOT))
    report = json.loads(once(program).stdout)
    shares = [alone / total for total, alone in report["costs"]]
    share, tenths = median(shares), quantiles(shares, n=10)
    total, alone = (median(costs) * 1000 for costs in zip(*report["costs"], strict=True))
    figure = f"{share:.2f} ({tenths[0]:.2f} to {tenths[-1]:.2f}; {alone:.0f} of {total:.0f} ms)"
    is_met = share >= SHARE_OF_ARGON2
    return [
        Row("argon2, of a login's CPU", figure, f"≥ {SHARE_OF_ARGON2}", is_met),
        *(
            Row(f"argon2 computations, {kind}", str(computed), "1", computed == 1)
            for kind, computed in report["computations"].items()
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
