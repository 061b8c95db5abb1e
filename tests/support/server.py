"""The site as gunicorn serves it: a real process on a port of its own, and who sends requests."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from tests.support import PASSWORD, ROOT, Database, Result, run
from tests.support.processes import PATIENCE

_DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()
PRODUCTION = next(line for line in _DEPLOYING.splitlines() if line.startswith("gunicorn "))
"""The command line of docs/deploying.md."""
UNLIMITED = "gunicorn --workers 1 --threads 4 --no-control-socket 'tests.support.wsgi:create_app()'"
"""Without rate limits: a test sends more than a person would."""
HALTING = PRODUCTION.replace("opsapp:create_app()", "tests.support.wsgi:create_halting_app()")
"""It can be made to stand still in the middle of a change."""


def start_server(
    database: Database, line: str, **settings: str
) -> tuple[subprocess.Popen[bytes], str]:
    """Start to serve the site of this database; the process, and where it will be."""
    program, *options = shlex.split(line)
    # The socket comes from here, so no other process can take its port meanwhile.
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        _log(database).open("w") as output,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environ = {**database.environ, "OPSAPP_URL": url, "PYTHONPATH": str(ROOT), **settings}
        process = subprocess.Popen(
            [sys.executable, "-m", program, *options, "--bind", f"fd://{listener.fileno()}"],
            # An empty one is one that is not set.
            env={name: value for name, value in environ.items() if value},
            cwd=database.instance,
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return process, url


def _log(database: Database) -> Path:
    return database.instance / "gunicorn.log"


def ended_server(database: Database, process: subprocess.Popen[bytes]) -> Result:
    """Wait for its end, and say how it ended."""
    try:
        process.wait(timeout=PATIENCE)
    finally:
        process.kill()
    return Result(process.returncode, "", _log(database).read_text())


# --- who sends requests --------------------------------------------------------


class Wire:
    """Stands where a test's client wants an application, and sends all to the server.

    :param site: where people think they are; a reverse proxy hands that on.
    """

    def __init__(self, url: str, site: str, headers: dict[str, str]) -> None:
        self.address = urlsplit(url).netloc
        self.headers = {"Host": urlsplit(site).netloc, "Referer": f"{site}/", **headers}

    def test_client(self) -> Client:
        """A client that keeps cookies."""
        return Client(self)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked = Request(environ)
        headers = {**asked.headers, **self.headers, "Connection": "close"}
        with closing(HTTPConnection(self.address, timeout=PATIENCE)) as connection:
            connection.request(asked.method, environ["REQUEST_URI"], asked.get_data(), headers)
            answer = connection.getresponse()
            response = Response(answer.read(), answer.status, answer.getheaders())
        return response(environ, start_response)


# --- the server ----------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """A site that a real server serves."""

    url: str
    database: Database
    environ: dict[str, str]
    """The settings that its commands need too, to do as the site does."""
    process: subprocess.Popen[bytes]

    def run(self, *args: str, stdin: str | None = None) -> Result:
        """Run ``flask ARGS`` on the host of the site."""
        return run(self.database, *args, stdin=stdin, check=True, **self.environ)

    def make_admin(self, email: str) -> str:
        """The address of an administrator's account that was just made."""
        self.run("users", "create-admin", email, "--password-stdin", stdin=PASSWORD + "\n")
        return email

    def wire(self, **headers: str) -> Wire:
        """The address that ``Browser`` and ``Program`` take for the application."""
        return Wire(self.url, self.environ["OPSAPP_URL"], headers)

    def connect(self) -> HTTPConnection:
        """A connection to the server."""
        return HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)

    @property
    def log(self) -> str:
        """The output of the server."""
        return _log(self.database).read_text()

    @property
    def is_listening(self) -> bool:
        """Tell whether it takes connections."""
        with suppress(ConnectionRefusedError), closing(self.connect()) as connection:
            connection.connect()
            return True
        return False


@contextmanager
def served(database: Database, line: str = UNLIMITED, **settings: str) -> Iterator[Served]:
    """Serve the site of this database with gunicorn, on a port of its own, until the end."""
    process, url = start_server(database, line, **settings)
    site = Served(url, database, {"OPSAPP_URL": url, **settings}, process)
    with process:
        try:
            # No other process has its socket, so this waits until it is up or has failed.
            assert site.wire().test_client().get("/healthz").status_code == 200
            yield site
        except BaseException as error:
            error.add_note(_log(database).read_text()[-5000:])
            raise
        finally:
            process.terminate()
            done = ended_server(database, process)
    assert done.exit_code == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
