"""`%load_ext opsapp` in a real Jupyter kernel: names, tables, modes and the record."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from tests.support import Cli, Database
from tests.support.processes import PATIENCE

SLOW = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT sum(x) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}
ADD = "db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))"


class Notebook:
    """A user at a front end, with a kernel of their own."""

    def __init__(self, manager: KernelManager, client: Any) -> None:
        self.manager = manager
        self.client = client

    def run(self, code: str, **options: Any) -> str:
        """Run a cell; return all that it shows."""
        shown: list[str] = []
        self.outputs: list[str] = []
        errors: list[str] = []

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            self.outputs.append(message["msg_type"])
            if message["msg_type"] == "stream":
                shown.append(content["text"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                shown.append(content["data"]["text/plain"])
            elif message["msg_type"] == "error":
                errors.append(content["ename"])

        self.reply = self.client.execute_interactive(
            code, output_hook=take, timeout=PATIENCE, **options
        )["content"]
        return "".join([*shown, *errors]).strip()

    def completed(self, code: str) -> list[str]:
        reply = self.client.complete(code, len(code), reply=True, timeout=PATIENCE)
        return list(reply["content"]["matches"])

    def end(self) -> None:
        self.client.shutdown(reply=True, timeout=PATIENCE)
        self.manager.provisioner.process.wait(PATIENCE)


@pytest.fixture
def notebook(database: Database, ada: str, tmp_path: Path) -> Iterator[Notebook]:
    manager = KernelManager(transport="ipc", connection_file=str(tmp_path / "kernel.json"))
    words = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=words, display_name="test", language="python")
    own = {"IPYTHONDIR": str(tmp_path / "ipython"), "NO_COLOR": "1", "FLASK_APP": "opsapp"}
    manager.start_kernel(env={**database.environ, **own}, cwd=str(tmp_path))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def inputs(cli: Cli) -> dict[str, list[str]]:
    """The inputs on record, by the mode of their session."""
    found: dict[str, list[str]] = {}
    for session in cli("audit", "sessions", "--format", "json").json:
        detail = cli("audit", "session", session["id"], "--format", "json")
        assert (session["by"], session["state"]) == ("kernel", "closed")
        assert (detail.exit_code, detail.json["transcript"]) == (0, "whole")
        found[session["mode"]] = [
            line["text"] for line in detail.json["lines"] if line["kind"] == "input"
        ]
    return found


def test_kernel_has_the_console_with_its_record_and_modes(
    notebook: Notebook, database: Database, cli: Cli, tmp_path: Path
) -> None:
    assert notebook.run("User") == "NameError"
    shown = notebook.run("%load_ext opsapp\nU(1).email")
    assert "mode      write: committed changes stay" in shown
    assert shown.endswith("'ada@example.com'")
    assert re.search(r"fs_uniquifier +•••", notebook.run("U(1)"))
    assert "display_data" not in notebook.outputs  # It would be an empty box.
    assert "lovelace" in notebook.run("users.update(1, username='lovelace')")
    assert notebook.run(ADD) == "1 change waits: commit() writes, rollback() forgets."
    assert "ops_mail_messages  1 inserted" in notebook.run("commit()")
    assert database.rows("SELECT username FROM ops_users") == [("lovelace",)]
    assert database.rows("SELECT subject FROM ops_mail_messages WHERE kind = 'x'") == [("s",)]
    assert notebook.run("U('nobody')") == (
        "NotFound: no user nobody\n  → flask users list --search TEXT"
    )
    assert notebook.reply["status"] == "error"
    notebook.run("1", user_expressions={"n": "User.query.count()"})
    assert notebook.reply["user_expressions"]["n"]["data"] == {"text/plain": "1"}
    assert notebook.completed('U("love') == ["lovelace"]
    assert "ops_user_sessions" in notebook.completed("%sql select * from ops_use")

    assert "mode      sandbox: " in notebook.run("%opsapp --sandbox")
    assert "eve@example.com" in notebook.run('create_user("eve", "eve@example.com").email')
    left = notebook.run("%opsapp --read-only")
    assert "Sandbox: nothing was saved. It would have been:\n  user:account:create" in left
    refused = notebook.run("users.update('ada@example.com', username='x')")
    assert refused.startswith("Refused: this session is read-only")
    assert notebook.run("await __import__('asyncio').sleep(0); print(User.query.count())") == "1"
    assert "%opsapp takes --read-only" in notebook.run("%opsapp --nosuch")
    assert notebook.run("U(1).username") == "'lovelace'"
    notebook.end()

    assert inputs(cli) == {
        "write": [
            "U(1)", "users.update(1, username='lovelace')", ADD, "commit()", "U('nobody')", "1",
            "User.query.count()", "%opsapp --sandbox",
        ],
        "sandbox": ['create_user("eve", "eve@example.com").email', "%opsapp --read-only"],
        "read-only": [
            "users.update('ada@example.com', username='x')",
            "await __import__('asyncio').sleep(0); print(User.query.count())",
            "%opsapp --nosuch", "U(1).username",
        ],
    }  # fmt: skip
    history = (tmp_path / "ipython").rglob("history.sqlite")
    assert not [file for file in history if b"lovelace" in file.read_bytes()]
    assert database.rows("SELECT count(*) FROM ops_users") == [(1,)]


def test_interrupt_of_a_kernel_cancels_the_statement(
    notebook: Notebook, database: Database
) -> None:
    notebook.run("%load_ext opsapp")
    statement = SLOW["sqlite" if database.is_sqlite else "postgresql"]
    notebook.run("import threading, os, signal")
    interrupt = "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start(); "
    assert notebook.run(f"{interrupt}sql({statement!r})") == "Interrupted; %tb shows where."
    assert notebook.run("U(1).email") == "'ada@example.com'"


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_unloading_ends_the_session_and_the_record(notebook: Notebook, cli: Cli) -> None:
    notebook.run("%load_ext opsapp")
    assert notebook.run("%unload_ext opsapp") == (
        "The session is closed, and inputs are not recorded any more."
    )
    assert notebook.run("secret = 1") == ""
    assert notebook.run("{'password': 'x'}") == "{'password': 'x'}"
    assert "%names" in notebook.run("%names")
    assert "%opsapp" in notebook.run("%opsapp --sandbox")
    assert notebook.run("User.query.count()") == "RuntimeError"
    notebook.run("%load_ext opsapp")
    assert notebook.run("U(1).email, secret") == "('ada@example.com', 1)"
    notebook.end()
    assert inputs(cli) == {"write": ["U(1).email, secret"]}


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_production_is_read_until_its_name_is_given(
    notebook: Notebook, database: Database, cli: Cli
) -> None:
    secrets = database.instance / "secrets"
    names = ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY")
    own = {name: (secrets / name.lower()).read_text() for name in names}
    database.execute("UPDATE ops_audit_head SET environment = 'production'")
    notebook.run(f"import os; os.environ.update({ {**own, 'OPSAPP_ENV': 'production'} })")
    assert "mode      read-only: " in notebook.run("%load_ext opsapp")
    assert notebook.run("%opsapp --write").startswith(
        "Refused: writing to production needs a reason"
    )
    assert "This is production" in notebook.run("%opsapp --write --reason 'ticket 7'")
    assert notebook.run("U(1).email") == "'ada@example.com'"
    opened = notebook.run("%opsapp --write --reason 'ticket 7' --confirm production")
    assert "mode      write: " in opened
    notebook.end()
    sessions = cli("audit", "sessions", "--format", "json", **own, OPSAPP_ENV="production").json
    assert [(each["mode"], each["reason"]) for each in sessions] == [
        ("read-only", None), ("write", "ticket 7"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_application_that_cannot_be_loaded_is_a_line(notebook: Notebook) -> None:
    notebook.run("import os; os.environ['FLASK_APP'] = 'nosuch'")
    shown = notebook.run("%load_ext opsapp")
    assert shown.startswith("NotReady: the application cannot be loaded: Could not import 'nosuch'")
    assert notebook.run("1 + 1") == "2"
