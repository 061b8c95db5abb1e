"""`flask shell --plain`: Python's own console, with the record and the modes."""

from __future__ import annotations

import pytest

from tests.support import Cli, Database
from tests.support.consoles import console


def test_plain_console_is_recorded_and_shows_errors_as_lines(
    database: Database, ada: str, cli: Cli
) -> None:
    with console(database, "--plain", prompt=">>> ") as user:
        banner = user.wait()
        assert "Mode: write: committed changes stay. Every input is recorded." in banner
        assert user.type("U(1).email") == "'ada@example.com'"
        assert user.type("1 +").endswith("SyntaxError: invalid syntax")
        assert user.type("U('nobody')") == (
            "NotFound: no user nobody\n→ flask users list --search TEXT"
        )
        user.send("for n in (1, 2):\r    n\r\r")
        user.until("2\r\n")
        user.wait()
        assert user.type("from __future__ import annotations") == ""
        user.type("def f(x: nosuch): 1 / x\r")  # An empty line ends it.
        trace = user.type("f(0)")
        assert trace.endswith("ZeroDivisionError: division by zero")
        assert "lifecycle" not in trace
        assert user.type("db.session.execute(sa.text('DELETE FROM ops_logins')) and None") == ("")
        code, _last = user.leave()
    assert code == 0
    [session] = cli("audit", "sessions", "--format", "json").json
    assert (session["by"], session["mode"], session["ended"]) == ("terminal", "write", "exit")
    lines = cli("audit", "session", session["id"], "--format", "json").json
    assert lines["transcript"] == "whole"
    assert [line["text"] for line in lines["lines"] if line["kind"] == "input"] == [
        "U(1).email", "U('nobody')", "for n in (1, 2):\n    n\n",
        "from __future__ import annotations", "def f(x: nosuch): 1 / x\n", "f(0)",
        "db.session.execute(sa.text('DELETE FROM ops_logins')) and None",
    ]  # fmt: skip
    assert not [line for line in lines["lines"] if line["kind"] in ("code", "unannounced")]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_plain_console_keeps_the_mode_and_ends_when_idle(
    database: Database, ada: str, cli: Cli
) -> None:
    with console(
        database, "--plain", "--read-only", prompt=">>> ", OPSAPP_SHELL_IDLE="0.02"
    ) as user:
        user.wait()
        refused = user.type("users.update('ada@example.com', username='x')")
        assert refused.startswith("Refused: this session is read-only")
        code, last = user.ending()
    assert code == 0
    assert "No line for 0.02 minutes: rolled back, session closed." in last
    [session] = cli("audit", "sessions", "--format", "json").json
    assert session["ended"] == "idle"


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("args", "preferred"), [(("--no-banner",), ""), ((), "banner = false\n")])
def test_plain_console_begins_as_it_is_asked(
    database: Database, args: tuple[str, ...], preferred: str
) -> None:
    file = database.instance / "console.toml"
    file.write_text(f'{preferred}[names]\nMoney = "decimal:Decimal"\n')
    file.chmod(0o600)
    with console(database, "--plain", *args, prompt=">>> ") as user:
        assert user.wait() == ""
        assert user.type("Money(1)") == "Decimal('1')"
        assert user.leave()[0] == 0
