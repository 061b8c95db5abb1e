"""Installed beside an application that knows nothing of opsapp, nothing changes for it."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import FLASK, ROOT

THEIRS = {
    "login_app": ("translate", "init", "de"),
    "security_app": ("users", "create", "ada@example.com", "--password", "correct horse battery"),
    "flag_app": ("create-admin", "ada@example.com"),
    "relation_app": ("roles", "list"),
    "word_app": ("jobs",),
    "uuid_app": ("mail", "list"),
}
"""The applications of tests/apps, with a command of each that has a name of ours or of Flask's."""


OPS = "ops Operate this application: users, jobs, audit, queries."
"""The one line that its help has more."""


def flask_program(plugins: str) -> None:
    """Run `flask` for each line of stdin, forked from a process that has imported no opsapp.

    :param plugins: ``without`` lets no other package add commands.
    """
    import atexit
    import json
    import os
    import sys
    import traceback
    from importlib import import_module

    import flask.cli

    for package in ("alembic.command", "flask_migrate", "flask_security", "flask_sqlalchemy"):
        import_module(package)
    flask.cli.cli._loaded_plugin_commands = plugins == "without"
    for line in sys.stdin:
        words, streams = json.loads(line)
        if process := os.fork():
            sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\n")
            sys.stdout.flush()
            continue
        for number, name in enumerate(streams):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        sys.argv = ["flask", *words]
        code = 1
        try:
            flask.cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:  # noqa: BLE001  (Python itself would print it)
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


class Copy:
    """An application in a folder of its own, with or without opsapp beside it."""

    def __init__(self, app: str, folder: Path, plugins: str) -> None:
        self.folder = folder
        folder.mkdir()
        environ = {
            **os.environ,
            "FLASK_APP": f"tests.apps.{app}:create_app",
            "PYTHONPATH": str(ROOT),
            "FLASK_SKIP_DOTENV": "1",
            "THEIR_DATABASE_URL": f"sqlite:///{folder}/theirs.sqlite",
            "THEIR_MIGRATIONS": str(folder / "migrations"),
        }
        source = f"import sys\n{inspect.getsource(flask_program)}\nflask_program(sys.argv[1])"
        self.program = subprocess.Popen(
            [sys.executable, "-c", source, plugins],
            env=environ,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            streams = [Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
            streams[0].write_text(stdin)
            self.program.stdin.write(json.dumps([words, list(map(str, streams))]) + "\n")
            self.program.stdin.flush()
            code = int(self.program.stdout.readline())
            stdout, stderr = (stream.read_text() for stream in streams[1:])
        return code, *(text.replace(str(self.folder), "…") for text in (stdout, stderr))


Make = Callable[[str, str], Copy]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make a copy of the application of this name, ``without`` opsapp or ``beside`` it."""
    with ExitStack() as programs:

        def copy(app: str, plugins: str) -> Copy:
            copy = Copy(app, tmp_path / plugins, plugins)
            programs.enter_context(copy.program)
            return copy

        yield copy


@pytest.mark.parametrize("app", THEIRS)
def test_commands_of_the_application_are_as_before(app: str, make: Make) -> None:
    without, beside = make(app, "without"), make(app, "beside")
    assert without.run("db", "init")[0] == 0
    assert without.run("db", "migrate", "-m", "begin", "--rev-id", "0a1b")[0] == 0
    (without.folder / "migrations").rename(beside.folder / "migrations")
    (beside.folder / "migrations" / "alembic.ini").touch()
    (without.folder / "migrations").symlink_to(beside.folder / "migrations")
    for words, stdin in (
        (("db", "--help"), ""),
        (("db", "upgrade"), ""),
        (("db", "current"), ""),
        (("db", "check"), ""),
        ((THEIRS[app][0], "--help"), ""),
        (THEIRS[app], ""),
        (("shell",), "print(app.name)\n"),
        (("routes",), ""),
        (("db", "downgrade"), ""),
    ):
        assert beside.run(*words, stdin=stdin) == without.run(*words, stdin=stdin), words
    listed = [*_words(without.run("--help")), OPS.split()]
    assert sorted(_words(beside.run("--help"))) == sorted(listed)


def _words(run: tuple[int, str, str]) -> list[list[str]]:
    """Return the words of each line, without how wide a column is."""
    assert (run[0], run[2]) == (0, "")
    return [line.split() for line in run[1].splitlines()]


def test_command_of_ours_is_not_there(make: Make) -> None:
    beside = make("login_app", "beside")
    usage = "Usage: flask [OPTIONS] COMMAND [ARGS]...\nTry 'flask --help' for help.\n\n"
    for name in ("users", "audit", "doctor", "query"):
        says = f"Error: No such command '{name}'. Did you mean 'ops {name}'?\n"
        assert beside.run(name, "list") == (2, "", usage + says)


def test_no_file_is_left(make: Make) -> None:
    beside = make("word_app", "beside")
    assert beside.run("jobs") == (0, "nothing is planned\n", "")
    assert list(beside.folder.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_ENGINE_OPTIONS", "SQLALCHEMY_BINDS"]
)
def test_setting_of_the_database_that_comes_late_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "late.py").write_text(
        f"import opsapp\napp = opsapp.create_app()\napp.config[{name!r}] = 'sqlite:///other'\n"
    )
    environ = {**os.environ, "FLASK_APP": "late", "OPSAPP_INSTANCE": str(tmp_path / "instance")}
    done = subprocess.run(
        [FLASK, "users", "list"], env=environ, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (
        7,
        "",
        f"Error: {name} was set after opsapp.create_app(), which has opened another database\n"
        f"  → opsapp.create_app({{{name!r}: …}})\n",
    )
