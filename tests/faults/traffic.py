"""Changes that go on while a server goes away: by command, process, job, import, shell and API."""

from __future__ import annotations

import itertools
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException

from tests.faults.amounts import IS_LONG
from tests.support import FLASK, Database, Result, run
from tests.support.processes import ended, start, start_work, until
from tests.support.server import served
from tests.support.web import Program

IN_DOUBT = "it may or may not have happened"
ROWS = 6000 if IS_LONG else 300
"""Of each file that is imported: in the long form two transactions."""

Attempt = Callable[[str], str]
"""Make what this name says; return how it ended: ``done``, ``there``, ``failed 7``, ``doubt 1``."""


# --- processes that go on forever ------------------------------------------------


def create_roles_for_ever(source: str) -> None:
    """Create one role after the other on the same connections; say how each attempt ended."""
    import itertools
    import sys
    import time

    from sqlalchemy.exc import DBAPIError

    import opsapp
    from opsapp.accounts import roles
    from opsapp.actors import Actor
    from opsapp.engine.conditions import translate_error
    from opsapp.errors import Conflict, OpsError
    from opsapp.unit.work import Unit

    with opsapp.without_web():
        app = opsapp.create_app()

    def attempt(name: str) -> str:
        unit = Unit(actor=Actor(kind="os", name="worker"), door="job")
        try:
            with app.app_context():
                roles.create(name, unit=unit)
        except Conflict:
            return "there"  # The answer to an earlier COMMIT was lost.
        except (OpsError, DBAPIError) as error:
            condition = error if isinstance(error, OpsError) else translate_error(error)
            if condition is None:
                raise
            doubt = "doubt" if condition.code == "in-doubt" else "failed"
            return f"{doubt} {condition.exit_code}"
        return "done"

    for number in itertools.count():
        while True:
            outcome = attempt(f"{source}-{number}")
            sys.stdout.write(f"{source}-{number} {outcome}\n")
            sys.stdout.flush()
            if outcome in ("done", "there"):
                break
            time.sleep(0.05)  # The server is away; to ask again at once gains nothing.


IN_SHELL = """
import itertools, time
from sqlalchemy.exc import DBAPIError
from opsapp.engine.conditions import translate_error
from opsapp.errors import Conflict, OpsError

def attempt(name):
    try:
        roles.create(name)
    except Conflict:
        return "there"
    except (OpsError, DBAPIError) as error:
        condition = error if isinstance(error, OpsError) else translate_error(error)
        doubt = "doubt" if condition.code == "in-doubt" else "failed"
        return f"{doubt} {condition.exit_code}"
    return "done"

for number in itertools.count():
    while (outcome := attempt(f"shell-{number}")) not in ("done", "there"):
        print(f"shell-{number}", outcome, flush=True)
        time.sleep(0.05)
    print(f"shell-{number}", outcome, flush=True)
"""


# --- the traffic ----------------------------------------------------------------


@dataclass
class Traffic:
    """The sources of changes, the names that each acknowledged, and how each attempt ended."""

    database: Database
    acknowledged: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    doubts: list[tuple[str, str]] = field(default_factory=list)
    """The names in doubt, with the correlation that tells."""
    problems: list[BaseException] = field(default_factory=list)

    def goes_on(self, sources: tuple[str, ...], more: int = 2) -> None:
        """Wait until each source has acknowledged so many more."""
        begun = self._by_source()

        def is_done() -> bool:
            assert not self.problems, self.problems
            now = self._by_source()
            return all(now[source] >= begun[source] + more for source in sources)

        until(is_done)

    def _by_source(self) -> Counter[str]:
        return Counter(name.split("-")[0] for name in self.acknowledged)

    def add(self, name: str, outcome: str) -> None:
        self.outcomes[f"{name.split('-')[0]}: {outcome}"] += 1
        if outcome in ("done", "there"):
            self.acknowledged.append(name)

    # --- sources, each in a thread ------------------------------------------------

    def listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.add(*line.strip().split(" ", 1))

    def repeat(self, source: str, attempt: Attempt, over: threading.Event) -> None:
        """Attempt each name until it is there."""
        for number in itertools.count():
            name = f"{source}-{number}"
            while not over.is_set():
                outcome = attempt(name)
                self.add(name, outcome)
                if outcome in ("done", "there"):
                    break
            if over.is_set():
                return

    def command(self, name: str) -> str:
        done = run(self.database, "roles", "create", name)
        if IN_DOUBT in done.stderr:
            correlation = re.search(r"--correlation (\S+)", done.stderr)
            assert correlation, done
            self.doubts.append((name, correlation[1]))
        return "there" if done.exit_code == 3 else outcome_of(done)

    def job(self, name: str) -> str:
        return outcome_of(run(self.database, "jobs", "run", name, "--", "sleep", "0.2"))

    def file(self, name: str) -> str:
        path = self.database.instance / f"{name}.csv"
        path.write_text("email\n" + "".join(f"{name}-{row}@x.com\n" for row in range(ROWS)))
        return outcome_of(run(self.database, "users", "import", path.name))


def outcome_of(done: Result) -> str:
    """Return ``done``, or the exit code and whether the change is in doubt."""
    assert "Traceback" not in done.stderr, done
    if done.exit_code == 0:
        return "done"
    return f"{'doubt' if IN_DOUBT in done.stderr else 'failed'} {done.exit_code}"


def _requesting(program: Program) -> Attempt:
    def request(name: str) -> str:
        try:
            answer = program("POST", "/api/users", json={"email": f"{name}@x.com"})
        except (OSError, HTTPException) as error:
            return f"no answer: {error!r}"
        if answer.status_code in (201, 409):
            return "done" if answer.status_code == 201 else "there"
        doubt = "doubt" if "may or may not" in answer.text else "failed"
        return f"{doubt} {answer.status_code}"

    return request


@contextmanager
def traffic(database: Database, sources: tuple[str, ...]) -> Iterator[Traffic]:
    """Have accounts changed meanwhile.

    :param sources: of ``command``, ``process``, ``job``, ``file``, ``shell`` and ``request``.
    """
    going_on, over = Traffic(database), threading.Event()
    attempts: dict[str, Attempt] = {
        "command": going_on.command, "job": going_on.job, "file": going_on.file,
    }  # fmt: skip
    script = database.instance / "loop.py"
    script.write_text(IN_SHELL)
    processes = []
    if "process" in sources:
        processes.append(start_work(database, create_roles_for_ever, "process"))
    if "shell" in sources:
        shell = ("shell", "--write", "--reason", "outage", str(script))
        processes.append(start(database, FLASK, *shell))
    with _site(database, "request" in sources) as program:
        if program is not None:
            attempts["request"] = _requesting(program)
        threads = [
            threading.Thread(target=going_on.listen, args=[process]) for process in processes
        ]
        threads += [
            threading.Thread(target=going_on.repeat, args=[source, attempts[source], over])
            for source in sources
            if source in attempts
        ]
        for thread in threads:
            thread.start()
        try:
            going_on.goes_on(sources)
            yield going_on
            going_on.goes_on(sources)
        finally:
            over.set()
            for process in processes:
                process.kill()
            for thread in threads:
                thread.join()
            for process in processes:
                ended(process)


@contextmanager
def _site(database: Database, is_wanted: bool) -> Iterator[Program | None]:
    if not is_wanted:
        yield None
        return
    secret = run(database, "users", "tokens", "create", "ada@example.com", "t", "-q", check=True)
    with served(database) as site:
        yield Program(site.wire(), secret.stdout.strip())
