"""TAB: names from the database, quickly, and silence when it is away."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.support import FLASK, Cli, Database, call


def complete(database: Database, *words: str, **environ: str) -> list[str]:
    """Return bash's candidates for the last word."""
    asked = {
        "_FLASK_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["flask", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = call(database, check=True, **asked, **environ)
    assert done.stderr == ""
    return [line.split(",", 1)[1] for line in done.stdout.splitlines() if line]


@pytest.fixture
def named(cli: Cli, database: Database, bob: str) -> Database:
    cli("roles", "create", "support", "--allow", "orders:refund", check=True)
    cli("roles", "create", "auditor", check=True)
    return database


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["users", "show", "a"], ["ada@example.com"]),
        (["users", "show", "B"], ["bob@example.com"]),
        (["users", "show", "x"], []),
        (["roles", "grant", "a"], ["admin", "auditor"]),
        (["roles", "grant", "support", "b"], ["bob@example.com"]),
        (["users", "list", "--role", "s"], ["support"]),
        (["users", "can", "bob", "users:"], ["users:read", "users:write"]),
        (["roles", "deny", "support", "o"], ["orders:refund"]),
        (["users", "dea"], ["deactivate"]),
        (["users", "list", "--fields", "email,st"], ["email,status"]),
        (["roles", "grant", "--fields", "aud"], ["audit_seq"]),
        (["audit", "list", "--action", "user:ro"], ["user:role:grant"]),
        (["db", "backup", "x"], ["x"]),
        (["users", "list", "--format", "js"], ["json", "jsonl"]),
        (["users", "create-admin", "x", "--generate"], ["--generate-password"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_completion_offers_what_begins_so(
    named: Database, words: list[str], offered: list[str]
) -> None:
    assert complete(named, *words) == offered


def test_completion_offers_no_name_that_a_terminal_obeys(named: Database) -> None:
    escape = "char(27)" if named.is_sqlite else "chr(27)"
    named.execute(f"UPDATE ops_roles SET name = 'a' || {escape} WHERE name = 'auditor'")
    assert complete(named, "roles", "grant", "a") == ["admin"]


@pytest.mark.parametrize("stored", ["{garbled", "null", "[1, null]"])
def test_completion_is_silent_about_garbled_permissions(named: Database, stored: str) -> None:
    named.execute(
        "UPDATE ops_roles SET permissions = :stored WHERE name = 'support'", stored=stored
    )
    assert complete(named, "roles", "allow", "support", "users:") == ["users:read", "users:write"]


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/nothing", "sqlite:////nowhere/at.all", "nonsense"]
)
def test_completion_is_silent_when_the_database_is_away(named: Database, url: str) -> None:
    assert complete(named, "users", "show", "a", OPSAPP_DATABASE_URL=url) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(database: Database, shell: str) -> None:
    found = call(database, "completion", shell)
    assert (found.exit_code, found.stderr) == (0, "")
    assert f"_FLASK_COMPLETE={shell}_complete" in found.stdout


def test_completion_of_another_shell_is_usage(database: Database) -> None:
    found = call(database, "completion", "tcsh")
    assert found.exit_code == 2
    assert found.stdout == ""


def loaded(database: Database, *args: str) -> set[str]:
    """The heavy packages that a process has imported when it has run this command."""
    script = (
        "import sys; from flask.cli import cli;"
        f"cli.main({list(args)!r}, prog_name='flask', standalone_mode=False);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=database.environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    heavy = {
        "sqlalchemy",
        "flask_security",
        "flask_migrate",
        "alembic",
        "rich",
        "argon2",
        "IPython",
    }
    return heavy & set(done.stderr.split())


@pytest.mark.parametrize("args", [["users", "--help"], ["roles", "grant", "--help"]])
def test_help_loads_neither_the_app_nor_its_weight(database: Database, args: list[str]) -> None:
    assert loaded(database, *args) == set()


def test_list_loads_neither_flask_security_nor_alembic(database: Database) -> None:
    assert loaded(database, "users", "list") == {"sqlalchemy"}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("flask users show ada@ex", ["@example.com"]),
        ("flask users show ada@", ["@example.com"]),
        ("flask users show a", ["ada@example.com"]),
        ("flask users can bob users:w", ["write"]),
        ("flask roles deny support ", ["audit:read"]),
        ("flask audit list --action user:role:", ["grant"]),
        ("flask audit list --action=user:role:", ["grant"]),
        ("flask users list --role=su", ["support"]),
        ("flask users list --fields=id,em", ["id,email"]),
    ],
)
def test_bash_completes_words_with_breaks(named: Database, line: str, offered: list[str]) -> None:
    script = f"""
        eval "$(flask completion bash)"
        COMP_LINE={line!r} COMP_POINT={len(line)}
        _flask_completion flask
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(FLASK).parent}:{named.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**named.environ, "PATH": path},
        cwd=named.instance,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[: len(offered)] == offered


# --- in a terminal -----------------------------------------------------------

SHELLS = {
    "bash": ("--norc", "-i", '; eval "$(flask completion bash)"'),
    "zsh": ("-f", "-i", "; autoload -Uz compinit && compinit -u; source <(flask completion zsh)"),
    "fish": ("--no-config", "-i", "; flask completion fish | source"),
}
"""The start of each shell without the user's settings, and its line that loads the script."""
TYPED = {
    "flask users deac": "deactivate",
    "flask users show ada@": "ada@example.com",
    "flask users can ada@example.com users:w": "users:write",
    "flask users list --never": "--never-logged-in",
    "flask users list --format=jsonl --role su": "support",
    "flask users list --role=su": " --role=support",
    "flask users list --fields id,em": "id,email",
    "flask users list --fields=id,em": " --fields=id,email",
    "flask roles deny support --reason=x orders:r": "orders:refund",
    "flask roles apply her": "here.toml",
    "flask users import --rejects=her": " --rejects=here.toml",
}
"""The text before TAB, and its last word afterwards."""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("kind", ["sqlite"])
def test_shell_completes_at_a_terminal(named: Database, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    *options, script = SHELLS[shell]
    (named.instance / "here.toml").touch()
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    path = f"{Path(FLASK).parent}:{named.environ['PATH']}"
    terminal = pexpect.spawn(
        shell,
        options,
        env={**named.environ, **home, "PATH": path, "TERM": "xterm"},
        cwd=str(named.instance),
        encoding="utf-8",
        dimensions=(40, 160),
        timeout=60,
    )
    try:
        # Printed in two halves, so that the echo of the line is not taken for the answer.
        terminal.sendline(f"true{script}; printf '%s%s\\n' rea dy")
        terminal.expect_exact("ready\r\n")
        for line, word in TYPED.items():
            terminal.send(f"{line}\t")
            terminal.expect_exact(word)
            terminal.sendcontrol("u")
    finally:
        terminal.close(force=True)
