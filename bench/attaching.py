"""The cost of ``flask ops`` and of ``Ops(app, db)``: ``python -m bench.attaching``.

A listing of accounts is compared with the application's own shell, which prints the same by
the application's models. Then each application starts with ``Ops(app, db)`` and without it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from .installation import workspace
from .measure import (
    FLASK,
    ROOT,
    Program,
    Row,
    at_most,
    compile_everything,
    environ,
    once,
    pairs,
    say,
    show,
)

COUNT = 10
"""Accounts of each application."""
LONGER = 30.0
"""Milliseconds that an application may take longer to start."""

APPS = {
    "login_app": ("User", "username=f'user{n}', email=f'user{n}@x.org'", "id"),
    "security_app": (
        "User",
        "username=f'user{n}', email=f'user{n}@x.org', active=True, fs_uniquifier=str(n)",
        "id",
    ),
    "flag_app": ("User", "email=f'user{n}@x.org', domain_name='x.org'", "email"),
    "relation_app": ("User", "username=f'user{n}', email=f'user{n}@x.org', active=True", "id"),
    "word_app": ("Person", "email=f'user{n}@x.org'", "id"),
    "uuid_app": ("Account", "email_address=f'user{n}@x.org'", "id"),
}
"""Each application of tests/apps: its model, the values of an account, and its key."""


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.attaching", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="pairs of each measurement")
    options = parser.parse_args()
    compile_everything()
    rows: list[Row] = []
    for name in APPS:
        with workspace() as folder:
            rows += _measure(name, folder, options.rounds)
    return show("An application that opsapp is attached to", rows)


def _measure(name: str, folder: Path, rounds: int) -> Iterator[Row]:
    model, values, key = APPS[name]
    env = environ(
        FLASK_APP=f"tests.apps.with_ops:create_app({name!r}, user='tests.apps.{name}:{model}')",
        THEIR_DATABASE_URL=f"sqlite:///{folder}/theirs.sqlite",
        THEIR_MIGRATIONS=str(folder / "migrations"),
        OPSAPP_INSTANCE=str(folder / "ops"),
        PYTHONPATH=str(ROOT),
    )

    def program(*argv: str) -> Program:
        return Program(argv=argv, env=env, cwd=folder)

    start = f"from tests.apps.{name} import create_app, db, {model}; app = create_app()"
    rest = f"db.session.add_all([{model}({values}) for n in range({COUNT})]); db.session.commit()"
    once(program(sys.executable, "-c", f"{start}\nwith app.app_context(): db.create_all(); {rest}"))
    once(program(FLASK, "ops", "init", "--no-wal"))
    say(f"{name}: ops users list : its own shell …")
    keys = f"(user.{key} for user in db.session.query({model}))"
    line = f"from tests.apps.{name} import db, {model}; print(*{keys})"
    own = program("sh", "-c", f"echo {shlex.quote(line)} | {FLASK} shell")
    pair = pairs(program(FLASK, "ops", "users", "list"), own, rounds)
    detail = f" ({pair.a.cpu * 1000:.0f} : {pair.b.cpu * 1000:.0f} ms CPU)"
    yield at_most(
        f"{name}: flask ops users list : flask shell that prints them", pair.cpu, 1.25, detail
    )
    say(f"{name}: its start with Ops : without …")
    bare = program(sys.executable, "-c", start)
    attached = f"from tests.apps.with_ops import create_app; app = create_app({name!r})"
    pair = pairs(program(sys.executable, "-c", attached), bare, rounds)
    longer = (pair.a.cpu - pair.b.cpu) * 1000
    figure = f"{longer:.0f} ms ({pair.a.cpu * 1000:.0f} : {pair.b.cpu * 1000:.0f} ms CPU)"
    yield Row(
        f"{name}: its start with Ops(app, db), beyond without",
        figure,
        f"≤ {LONGER:.0f} ms",
        longer <= LONGER,
    )


if __name__ == "__main__":
    sys.exit(main())
