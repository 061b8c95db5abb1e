"""Help that helps: a line, a paragraph and an example that works, for every command."""

from __future__ import annotations

import cProfile
import inspect
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest

import opsapp
from opsapp import clock, entrypoints, settings
from opsapp.profiling import ddsketch
from opsapp.profiling.reports import Window, store
from tests.support import (
    FLASK,
    PASSWORD,
    Cli,
    Database,
    Result,
    call,
    close_connections,
    run_afresh,
)
from tests.support.jobwork import past, schedule_file
from tests.support.templates import ADA, Commands, Templates

# --- the words ---------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group of ours, with its path."""
    for listed in entrypoints.SUBJECTS.values():
        for lazy in listed:
            yield from _below(str(lazy.name), lazy.target)


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _below(f"{path} {name}", below)


COMMANDS = dict(commands())


def paragraphs(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def examples(command: click.Command) -> list[str]:
    found = re.search(r"^Examples?:\n((?:  .+\n?)+)", inspect.cleandoc(command.help or ""), re.M)
    return [line.strip() for line in found[1].splitlines()] if found else []


EXAMPLES = [
    (path, line)
    for path, command in COMMANDS.items()
    if not isinstance(command, click.Group)
    for line in examples(command)
]


@pytest.mark.parametrize("path", COMMANDS)
def test_command_has_a_line_and_a_paragraph(path: str) -> None:
    line, paragraph, *_more = paragraphs(COMMANDS[path])
    assert len(line) < 60
    assert line.endswith(".")
    assert len(line.splitlines()) == 1
    assert not paragraph.startswith("\b")
    assert paragraph.endswith(".")


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_says_what_it_is_for(path: str) -> None:
    options = [one for one in COMMANDS[path].params if isinstance(one, click.Option)]
    assert [one.name for one in options if not (one.hidden or one.help)] == []


def test_every_command_has_an_example_of_itself() -> None:
    without = {
        path
        for path, command in COMMANDS.items()
        if not isinstance(command, click.Group)
        and not any(re.search(rf"\bflask {path}\b", line) for line in examples(command))
    }
    assert without == set()


def test_list_of_flask_says_what_the_command_says() -> None:
    said = {
        lazy.name: lazy.help
        for listed in entrypoints.SUBJECTS.values()
        for lazy in listed
        if lazy.name not in ("init-db", "create-admin")
    }
    assert said == {name: paragraphs(COMMANDS[str(name)])[0] for name in said}


# --- how it looks -------------------------------------------------------------


def test_flask_lists_our_commands_by_subject(cli: Cli, database: Database) -> None:
    shown = cli("--help", check=True).stdout
    listed = shown.partition("\nCommands:\n")[2]
    theirs, *subjects = re.split(r"\n(?=\S.*:\n)", listed)
    assert "  run " in theirs
    assert "  users " not in theirs
    assert {
        part.splitlines()[0].rstrip(":"): [line.strip() for line in part.splitlines()[1:] if line]
        for part in subjects
    } == {
        subject: [f"{lazy.name:12}  {lazy.help}" for lazy in listed]
        for subject, listed in entrypoints.SUBJECTS.items()
    }


def test_help_is_plain_without_a_terminal(database: Database) -> None:
    plain = call(database, "roles", "create", "--help").stdout
    coloured = call(database, "roles", "create", "--help", FORCE_COLOR="1").stdout
    refused = call(database, "roles", "create", "--help", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b" not in plain
    assert "\x1b[1mOptions:\x1b[0m\n" in coloured
    assert "\x1b[36m--description\x1b[0m \x1b[33mTEXT\x1b[0m  " in coloured
    assert "\x1b[2m[default: error]\x1b[0m\n" in coloured
    assert "\x1b[1mExample:\x1b[0m\n\x1b[32m    flask roles create support" in coloured
    assert click.unstyle(coloured) == plain == refused


def test_plain_help_does_not_wait_for_rich(database: Database) -> None:
    def imported(**environ: str) -> str:
        timed = {"PYTHONPROFILEIMPORTTIME": "1", **environ}
        return run_afresh(database, "users", "--help", **timed).stderr

    assert "rich.console" not in imported()
    assert "rich.console" in imported(FORCE_COLOR="1")


# --- what was meant -----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "meant"),
    [
        (("rolse", "list"), 2, "(Did you mean one of: 'profile', 'roles'?)"),
        (("users", "creat"), 2, "No such command 'creat'. Did you mean 'create'?"),
        (("db", "upgrad"), 2, "No such command 'upgrad'. Did you mean 'upgrade'?"),
        (("users", "show", "bob@exmaple.com"), 4, "did you mean bob@example.com?"),
        (("roles", "show", "amdin"), 4, "did you mean admin?"),
        (("users", "can", "bob", "users:wirte"), 6, "did you mean users:write?"),
    ],
)
def test_slip_of_the_keys_is_told_what_was_meant(
    words: tuple[str, ...], code: int, meant: str, cli: Cli, database: Database, bob: str
) -> None:
    done = cli(*words)
    assert done.exit_code == code
    assert done.stderr.endswith(f"{meant}\n")


def test_permission_that_no_code_asks_for_is_kept_and_remarked_on(
    cli: Cli, database: Database, bob: str
) -> None:
    done = cli("roles", "create", "support", "--allow", "user:read", "-q")
    assert (done.exit_code, done.stdout) == (0, "support\n")
    assert done.stderr == "No code asks for user:read: did you mean users:read?\n"
    other = cli("roles", "create", "sellers", "--allow", "orders:read", "-q")
    assert (other.exit_code, other.stderr) == (0, "")


# --- the examples ------------------------------------------------------------

CANNOT_END = {
    "flask jobs serve --grace 20s": "it serves until a signal stops it; tests/jobs/test_serve.py",
    "flask jobs tail backup --follow": "it follows until Ctrl-C; tests/jobs/test_history.py",
    'flask db copy --to postgresql://ops@db/ops --reason "outgrew the file" --yes': (
        "it needs a server; tests/database/test_copy.py"
    ),
}
"""The examples that are not run, and why."""

WITHOUT_ADA = {"create-admin", "roles create", "users create", "users create-admin"}
"""The commands that make what the others find."""

STANDS_FOR = {
    "/mnt/elsewhere/": "{folder}/",
    "/srv/report.sh --all": "sh {folder}/report.sh",
    "3f2a91c4": "{session}",
    "bob@example.com": "root@example.com",
    "--repeat 10 ": "--repeat 2 ",  # Each is a run of the whole command.
}
"""Words of the examples that are replaced here."""

SAYS = {
    "flask jobs install --format systemd --check": 6,
    # No change waits for its end where there is one database.
    'flask audit settle 12 --as done --reason "the role is held"': 4,
    "flask users send-reset ada@example.com": 7,  # OPSAPP_URL is not set.
}
"""The exit codes of examples that find something in this database; the others exit 0."""

ROOT_ADMIN: Commands = (
    ("users", "create-admin", "root@example.com", "--username", "root", "--password-stdin"),
)
PREPARED: Commands = (
    *ADA,
    *ROOT_ADMIN,
    ("roles", "create", "support", "--allow", "users:read"),
    ("roles", "grant", "support", "root"),
    ("roles", "review", "start", "--role", "support", "--until", "2030-06-30"),
    ("users", "tokens", "create", "ada", "ci"),
    ("shell", "-c", "pass"),
)


@pytest.fixture(scope="module")
def prepared(sqlite_templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the examples speak of; each gets a copy."""
    instance = tmp_path_factory.mktemp("examples") / "instance"
    with sqlite_templates.copy(instance, PREPARED) as database, pytest.MonkeyPatch.context() as p:
        for name, value in database.environ.items():
            p.setenv(name, value)
        for number in range(12):
            past(database, "backup", at=clock.now() - timedelta(minutes=12 - number))
        with opsapp.create_app().app_context():
            _record()
        close_connections()
        words = ("profile", "request", "GET", "/login", "--repeat", "20", "--name", "before")
        call(database, *words, check=True)
        # A second measurement on a busy machine may be a change for the worse.
        columns = "is_automatic, mode, subject, python, environment, made_at, made_by, detail"
        database.execute(
            f"INSERT INTO ops_profile_saves (name, {columns})"
            f" SELECT 'after', {columns} FROM ops_profile_saves"
        )
        for file, words in (
            ("audit.checkpoints", ("audit", "checkpoint")),
            ("roles.toml", ("roles", "export")),
        ):
            (instance / file).write_text(call(database, *words, check=True).stdout)
    # A schedule that is changed tomorrow has missed nothing yet.
    shipped = settings.SHIPPED_JOBS.read_text()
    schedule_file(database, shipped, changed=clock.now() + timedelta(days=1))
    _write_files(instance)
    return instance


def _record() -> None:
    start = int(clock.now().timestamp()) // 60 * 60
    window = Window(("endpoint", "GET users.Users", "", ""), start, count=2000, seconds=20, most=1)
    window.bins = {ddsketch.bucket(0.01): 2000}
    slow: dict[str, Any] = {
        "kind": "slow",
        "name": "GET users.Users",
        "at": clock.now(),
        "seconds": 0.1,
        "status": 200,
        "queries": 1,
        "query_seconds": 0.002,
        "detail": {
            "sent": [[0.001, 0.002, "SELECT email FROM ops_users", "shop.py:3 in show"]],
            "samples": [[0.05, ["flask/app.py in Flask.wsgi_app", "shop.py in show"]]],
            "error": None,
        },
    }
    store("one", [window], [slow] * 12, limit=12)


def _write_files(folder: Path) -> None:
    (folder / "ada.password").write_text(PASSWORD + " again")
    (folder / "ada.password").chmod(0o600)
    (folder / "team.txt").write_text("ada@example.com\n# and nobody else\n")
    (folder / "people.csv").write_text("email\ncyd@example.com\n")
    (folder / "staff.csv").write_text("E-Mail\ncyd@example.com\n")
    (folder / "report.sql").write_text("SELECT count(*) AS accounts FROM ops_users")
    (folder / "report.sh").write_text("true\n")
    (folder / ".config" / "fish" / "completions").mkdir(parents=True)
    (folder / "profiles").mkdir(mode=0o700, exist_ok=True)
    profiler = cProfile.Profile()
    profiler.runcall(sum, [1, 2])
    profiler.dump_stats(folder / "profiles" / "20261231T235959Z-0a1b2c3d.prof")


@pytest.fixture
def place(
    path: str, prepared: Path, sqlite_templates: Templates, tmp_path: Path
) -> Iterator[Database]:
    """The database that the example of this command begins with."""
    instance = tmp_path / "instance"
    if path in WITHOUT_ADA:
        with sqlite_templates.copy(instance, ROOT_ADMIN) as database:
            yield database
        return
    shutil.copytree(prepared, instance)
    if path == "db restore":
        call(Database(f"sqlite:///{instance}/opsapp.sqlite", instance),
             "db", "backup", "sunday.backup", check=True)  # fmt: skip
    yield Database(f"sqlite:///{instance}/opsapp.sqlite", instance)


NEEDS_A_SHELL = re.compile(r"[|<>;&$]|^(?!flask)|^flask shell")
"""Syntax of the shell; and the console, which leaves a hook in its process."""


def in_bash(database: Database, line: str, environ: dict[str, str]) -> Result:
    """Return the output of the line at a terminal."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env={**database.environ, **environ},
        cwd=database.instance,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("path", "line"), [(path, line) for path, line in EXAMPLES if line not in CANNOT_END]
)
def test_example_works(path: str, line: str, place: Database) -> None:
    words = line
    session = (
        place.rows("SELECT correlation FROM ops_audit_events WHERE action = 'console:session:open'")
        if "3f2a91c4" in line
        else [("",)]
    )
    for word, other in STANDS_FOR.items():
        words = words.replace(word, other.format(folder=place.instance, session=session[0][0]))
    environ = {
        "HOME": str(place.instance),
        "PATH": f"{Path(FLASK).parent}:{place.environ['PATH']}",
    }
    if NEEDS_A_SHELL.search(words):
        done = in_bash(place, words, environ)
    else:
        done = call(place, *shlex.split(words)[1:], **environ)
    assert done.exit_code == SAYS.get(line, 0), done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_exceptions_are_examples() -> None:
    lines = {line for _path, line in EXAMPLES}
    assert (set(CANNOT_END) | set(SAYS)) - lines == set()
    assert WITHOUT_ADA - set(COMMANDS) == set()
