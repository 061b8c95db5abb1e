"""The site under gunicorn: started, drained, killed and refused."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection

import pytest
from sqlalchemy.engine import make_url

from tests.support import CORE, PASSWORD, SECRETS, Cli, Database, administer, move_core, run
from tests.support.processes import PATIENCE, gate_held, until
from tests.support.server import HALTING, PRODUCTION, Served, ended_server, served, start_server
from tests.support.web import Browser, Program

BOB = {"email": "bob@example.com"}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def token(cli: Cli, ada: str) -> str:
    """A token of Ada, an administrator."""
    return cli("users", "tokens", "create", ada, "test", "-q", check=True).stdout.strip()


def emails(database: Database) -> list[str]:
    return [email for (email,) in database.rows("SELECT email FROM ops_users ORDER BY id")]


def test_person_and_program_are_served(database: Database, token: str) -> None:
    with served(database, PRODUCTION) as site:
        browser, program = Browser(site.wire()), Program(site.wire(), token)
        form = {"email": "ada@example.com", "password": PASSWORD}
        assert browser.client.post("/login", data=form).status_code == 400
        answer = browser.sign_in("ada@example.com")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
        assert "ada@example.com" in browser.get("/").text
        assert browser.get("/api/me").json["permissions"] == ["*"]
        assert program("POST", "/api/users", json=BOB).status_code == 201
        assert [user["email"] for user in browser.get("/api/users").json["users"]] == emails(
            database
        )
        assert Program(site.wire(), token + "x")("GET", "/api/users").status_code == 401
        browser.sign_out()
        assert not browser.is_in


# --- ready or not ----------------------------------------------------------------


def readiness(site: Served) -> tuple[int, str | None]:
    answer = site.wire().test_client().get("/readyz")
    return answer.status_code, answer.json.get("because")


@contextmanager
def away(database: Database, request: pytest.FixtureRequest) -> Iterator[None]:
    """The database cannot be reached."""
    if database.is_sqlite:
        file = database.instance / "opsapp.sqlite"
        hidden = file.rename(database.instance / "hidden")
        yield
        hidden.rename(file)
        return
    server = request.getfixturevalue("postgres")
    name = make_url(database.url).database
    administer(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    administer(server, ended)
    yield
    administer(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_site_is_ready_while_its_database_is(
    database: Database, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        with away(database, request):
            site = stack.enter_context(served(database))
            assert readiness(site) == (503, "not-ready")
        assert readiness(site) == (200, None)
        move_core(database, "core0000")
        assert readiness(site) == (503, "not-ready")
        move_core(database, CORE)
        assert readiness(site) == (200, None)


# A process that has SQLite's file open keeps it, wherever it is moved.
@pytest.mark.parametrize("kind", ["postgresql"])
def test_site_recovers_when_its_database_was_away(
    database: Database, token: str, request: pytest.FixtureRequest
) -> None:
    with served(database) as site:
        program = Program(site.wire(), token)
        assert program("GET", "/api/users").status_code == 200
        with away(database, request):
            assert program("GET", "/api/users").status_code == 503
            assert readiness(site) == (503, "not-ready")
        assert program("GET", "/api/users").status_code == 200
        assert readiness(site) == (200, None)


# --- stopped and killed ------------------------------------------------------------


@contextmanager
def in_flight(site: Served, token: str) -> Iterator[HTTPConnection]:
    """A request for an account of Bob; a worker has it in hand."""
    body = json.dumps(BOB).encode()
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    }
    with closing(site.connect()) as connection:
        connection.putrequest("POST", "/api/users")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        # It asks for the body only when it has begun with the request.
        assert connection.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        connection.send(body)
        yield connection


def test_request_in_flight_is_answered_before_the_server_ends(
    database: Database, token: str
) -> None:
    with served(database, PRODUCTION) as site:
        # The token's use is written down now, so that only the change waits at the gate.
        assert Program(site.wire(), token)("GET", "/api/me").status_code == 200
        with gate_held(database) as gate, in_flight(site, token) as request:
            site.process.terminate()
            until(lambda: "Worker exiting" in site.log)  # The worker with nothing to do.
            gate.exec_driver_sql("ROLLBACK")
            assert request.getresponse().status == 201
        assert site.process.wait(timeout=PATIENCE) == 0
        assert not site.is_listening
    assert emails(database) == ["ada@example.com", "bob@example.com"]
    sent = "SELECT count(sent_at) FROM ops_mail_messages WHERE recipient = 'bob@example.com'"
    assert database.rows(sent) == [(1,)]


def test_killed_worker_leaves_nothing_half_done(database: Database, token: str, cli: Cli) -> None:
    pipe = database.instance / "halted"
    os.mkfifo(pipe)
    with served(database, HALTING, HALTED=str(pipe)) as site:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with in_flight(site, token) as request:
            assert select.select([reader], [], [], PATIENCE)[0]
            worker = int(os.read(reader, 20))
            os.close(reader)
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(ConnectionResetError):
                request.getresponse()
        assert emails(database) == ["ada@example.com"]
        assert Program(site.wire(), token)("POST", "/api/users", json=BOB).status_code == 201
    cli("audit", "verify", check=True)
    assert emails(database) == ["ada@example.com", "bob@example.com"]


# --- production --------------------------------------------------------------------

BEHIND_A_PROXY = {
    "OPSAPP_ENV": "production",
    "OPSAPP_URL": "https://ops.example.com",
    "OPSAPP_PROXIES": "1",
    **SECRETS,
}


@pytest.mark.parametrize("kind", ["sqlite"])
def test_production_behind_a_proxy_is_for_https_only(empty_database: Database) -> None:
    run(empty_database, "db", "init", check=True, **BEHIND_A_PROXY)
    with served(empty_database, PRODUCTION, **BEHIND_A_PROXY) as site:
        site.make_admin("ada@example.com")
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
        browser = Browser(site.wire(**forwarded))
        page = browser.get("/login")
        assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
        (cookie,) = page.headers.getlist("Set-Cookie")
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
        assert browser.sign_in("ada@example.com").status_code == 302
        assert browser.is_in
        elsewhere = site.wire(**forwarded, Host="evil.example.com").test_client()
        assert elsewhere.get("/login").status_code == 400
        assert elsewhere.get("/readyz").status_code == 200  # A load balancer asks by address.
    assert ("203.0.113.7",) in empty_database.rows("SELECT ip FROM ops_user_sessions")


@pytest.mark.parametrize("kind", ["sqlite"])
def test_production_with_a_debugger_names_its_variable_and_ends(empty_database: Database) -> None:
    process, _url = start_server(empty_database, PRODUCTION, **BEHIND_A_PROXY, FLASK_DEBUG="1")
    done = ended_server(empty_database, process)
    assert done.exit_code in (1, 4)  # It is 1 where both workers find out while it ends.
    assert (
        "Error: the debugger (FLASK_DEBUG, --debug, debug=True) runs any code,"
        " and OPSAPP_ENV is production\n"
        "  → unset FLASK_DEBUG, and serve without --debug, --debugger and debug=True\n"
    ) in done.stderr
    assert "factory.py" not in done.stderr  # No traceback of ours.


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("missing", ["OPSAPP_URL", "SECRET_KEY"])
def test_production_without_what_it_needs_says_so_and_ends(
    empty_database: Database, missing: str
) -> None:
    process, _url = start_server(empty_database, PRODUCTION, **{**BEHIND_A_PROXY, missing: ""})
    done = ended_server(empty_database, process)
    assert done.exit_code in (1, 4)  # It is 1 where both workers find out while it ends.
    line = f"Error: {missing} is not set, and OPSAPP_ENV is production"
    assert line in done.stderr.splitlines()
    assert "factory.py" not in done.stderr  # No traceback of ours.
    assert not any(secret in done.stderr for secret in SECRETS.values())
