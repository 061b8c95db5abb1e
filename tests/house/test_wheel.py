"""The wheel, for users without a checkout: built, installed, and run from any folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support import HEAD, PASSWORD, ROOT, Cli, Database
from tests.support.shared import made_once

DEPENDENCIES = Path(sysconfig.get_paths()["purelib"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this code, made from its source distribution."""
    return next(made_once(tmp_path_factory, "dist", build).glob("*.whl"))


def build(folder: Path) -> None:
    source = folder / "source"
    source.mkdir()
    for name in ("opsapp", "commands", "migrations"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for path in ROOT.glob("[!.]*"):
        if path.is_file():
            shutil.copyfile(path, source / path.name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a virtual environment with the wheel alone; what it needs is lent to it."""
    return made_once(tmp_path_factory, "venv", partial(install, wheel)) / "bin"


def install(wheel: Path, home: Path) -> None:
    venv.EnvBuilder(with_pip=False, symlinks=True).create(home)
    packages = next(home.glob("lib/python*/site-packages"))
    # A .pth would run the ones of our own environment, and find the checkout by them.
    (packages / "lent.pth").write_text(f"{DEPENDENCIES}\n")
    command = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    quiet = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    # Flask's own program is installed by its own distribution, so a copy is made here.
    subprocess.run([*command, *quiet, str(wheel)], check=True)
    (home / "bin" / "flask").write_text(
        f"#!{home}/bin/python\nimport sys\nfrom flask.cli import main\nsys.exit(main())\n"
    )
    (home / "bin" / "flask").chmod(0o755)


def call(
    programs: Path, database: Database, *words: str, cwd: Path, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in database.environ.items() if k not in ("FLASK_APP", "PYTHONPATH")}
    return subprocess.run(
        [str(programs / words[0]), *words[1:]],
        env={**kept, **environ},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_wheel_holds_what_the_code_reads(wheel: Path) -> None:
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    needed = {
        f"{package}/{path.relative_to(ROOT / folder)}"
        for package, folder in (("opsapp", "opsapp"), ("opsapp/commands", "commands"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {
        f"opsapp/_shipped/{path.relative_to(ROOT)}"
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == needed | shipped


def test_wheel_runs_from_any_folder(
    programs: Path, empty_database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def opsapp(*words: str, stdin: str = "") -> str:
        done = call(programs, empty_database, "opsapp", *words, cwd=folder, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"revision\t{HEAD}\n" in opsapp("db", "init")
    opsapp("users", "create-admin", "ada@example.com", "--password-stdin", stdin=PASSWORD)
    assert opsapp("users", "list", "--fields", "email") == "email\nada@example.com\n"
    assert "send-mail" in opsapp("jobs", "schedule", "--fields", "name")
    opsapp("audit", "verify")
    assert list(folder.iterdir()) == []


def test_wheel_serves_its_pages(programs: Path, empty_database: Database, tmp_path: Path) -> None:
    program = (
        "import opsapp\n"
        "client = opsapp.create_app().test_client()\n"
        "print(opsapp.__file__)\n"
        "print(client.get('/login').status_code, client.get('/static/opsapp.css').status_code)\n"
    )
    call(programs, empty_database, "opsapp", "db", "init", cwd=tmp_path)
    done = call(programs, empty_database, "python", "-c", program, cwd=tmp_path)
    file, statuses = done.stdout.splitlines()
    assert Path(file).is_relative_to(programs.parent)
    assert statuses == "200 200"


def test_installation_keeps_its_files_in_the_state_folder(
    programs: Path, empty_database: Database, tmp_path: Path
) -> None:
    environ = {"OPSAPP_INSTANCE": "", "OPSAPP_DATABASE_URL": "", "XDG_STATE_HOME": str(tmp_path)}
    done = call(programs, empty_database, "opsapp", "db", "init", cwd=tmp_path, **environ)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opsapp" / "opsapp.sqlite").is_file()


def test_hint_names_the_program_that_was_typed(
    programs: Path, empty_database: Database, tmp_path: Path
) -> None:
    done = call(programs, empty_database, "opsapp", "users", "list", cwd=tmp_path)
    assert done.returncode == 7
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "  → opsapp db init"


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_postgresql_without_its_driver_says_what_to_install(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("OPSAPP_DATABASE_URL", "postgresql://opsapp@db.internal/opsapp")
    found = cli("users", "list")
    assert (found.exit_code, found.stdout) == (7, "")
    first, hint = found.stderr.splitlines()
    assert first.startswith("Error: PostgreSQL needs psycopg, which cannot be imported: ")
    assert hint == "  → pip install 'psycopg[binary]'"


def test_application_keeps_its_own_package_named_commands(
    programs: Path, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "commands.py").write_text("GREETING = 'theirs'\n")
    (tmp_path / "app.py").write_text(
        "import commands\n"
        "import opsapp\n"
        "app = opsapp.create_app()\n"
        "app.cli.command('greet')(lambda: print(commands.GREETING))\n"
    )
    for words, stdout in (
        (("greet",), "theirs\n"),
        (("roles", "list", "--fields", "name"), "name\nadmin\n"),
    ):
        done = call(programs, database, "flask", "--app", "app", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, stdout, "")
