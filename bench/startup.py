"""The cost of a command before it does anything: ``python -m bench.startup [--django]``.

Each ratio is the CPU time of one whole process against another's: a listing
against Flask-Security's own command on the smallest application that has it, and
against the import of Flask and SQLAlchemy; help against the import of Flask's command
line, completion against help.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

from .installation import Installation, sqlite, workspace
from .measure import (
    ROOT,
    Pair,
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

ACCOUNTS = 10


def main() -> int:
    """Measure and print; the exit code."""
    options = _options()
    compile_everything()
    with workspace() as folder:
        installation = sqlite(folder, "startup")
        _add_accounts(installation)
        rows = [
            *_against_flask_security(installation, folder, options.rounds),
            _against_its_libraries(installation, options.rounds),
            *_help(installation, options.rounds),
            *_completion(installation, options.rounds),
        ]
        if options.django:
            rows += _against_django(installation, folder, options.rounds)
    return show(f"Start-up, medians of {options.rounds} pairs", rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="pairs for each ratio")
    parser.add_argument("--django", action="store_true", help="also against Django, from PyPI")
    return parser.parse_args()


def _add_accounts(installation: Installation) -> None:
    for number in range(ACCOUNTS):
        once(installation.flask("users", "create", f"user{number}@example.com", "--no-password"))


def _figures(pair: Pair) -> str:
    return f" ({pair.a.cpu * 1000:.0f} : {pair.b.cpu * 1000:.0f} ms CPU; wall {pair.wall:.2f})"


def _against_flask_security(installation: Installation, folder: Path, rounds: int) -> list[Row]:
    say("users list : Flask-Security's users activate …")
    env = environ(
        FLASK_APP="bench.minimal_security.app",
        MINIMAL_DATABASE=str(folder / "minimal.sqlite"),
        PYTHONPATH=str(ROOT),
    )

    def minimal(module: str, *args: str) -> Program:
        argv = (sys.executable, "-m", f"bench.minimal_security.{module}", *args)
        return Program(argv=argv, env=env, cwd=folder)

    once(minimal("prepare"))
    peer = minimal("run", "users", "activate", "one@example.com")
    listing = pairs(installation.flask("users", "list"), peer, rounds)
    activating = installation.flask("users", "activate", "user1@example.com")
    acting = pairs(activating, peer, rounds)
    return [
        at_most("users list : Flask-Security's activate", listing.cpu, 0.85, _figures(listing)),
        Row("users activate : the same", f"{acting.cpu:.2f}{_figures(acting)}"),
    ]


def _against_its_libraries(installation: Installation, rounds: int) -> Row:
    say("users list : import flask and SQLAlchemy …")
    # The garbage collector is off, as it is in a command.
    code = "import gc; gc.disable(); import flask.cli, sqlalchemy.orm"
    libraries = installation.program(sys.executable, "-c", code)
    pair = pairs(installation.flask("users", "list"), libraries, rounds)
    return Row("users list : import flask, SQLAlchemy", f"{pair.cpu:.2f}{_figures(pair)}")


def _help(installation: Installation, rounds: int) -> list[Row]:
    say("users --help : import flask.cli …")
    bare = installation.program(sys.executable, "-c", "import flask.cli")
    rows = []
    for how, settings in (("", {}), (" in colour", {"FORCE_COLOR": "1"})):
        pair = pairs(installation.flask("users", "--help", **settings), bare, rounds)
        rows.append(at_most(f"users --help{how} : import flask.cli", pair.cpu, 1.2, _figures(pair)))
    return rows


def _completion(installation: Installation, rounds: int) -> list[Row]:
    say("completion of a user : users --help …")
    completing = installation.flask(
        _FLASK_COMPLETE="bash_complete", COMP_WORDS="flask users show user", COMP_CWORD="3"
    )
    count = once(completing).stdout.count(b"plain,")
    if count != ACCOUNTS:
        raise RuntimeError(f"{count} completions instead of {ACCOUNTS}")
    pair = pairs(completing, installation.flask("users", "--help"), rounds)
    beyond = (pair.a.wall - pair.b.wall) * 1000
    return [
        Row("completing a user, beyond --help", f"{beyond:.0f} ms", "≤ 300 ms", beyond <= 300),
        Row("completing a user : users --help", f"{pair.cpu:.2f}{_figures(pair)}"),
    ]


# --- django ------------------------------------------------------------------

_PROJECT = {
    "manage.py": """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "settings.py": """
from pathlib import Path
SECRET_KEY = "for the benchmark"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "people"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db.sqlite3"),
}}
USE_TZ = True
""",
    "people/__init__.py": "",
    "people/management/__init__.py": "",
    "people/management/commands/__init__.py": "",
    "people/management/commands/list_users.py": """
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def handle(self, *args, **options):
        users = User.objects.order_by("id").prefetch_related("groups")[:50]
        for user in users:
            groups = ",".join(group.name for group in user.groups.all())
            self.stdout.write(f"{user.id}\\t{user.email}\\t{user.username}\\t{groups}")
""",
    "people/management/commands/add_users.py": f"""
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def handle(self, *args, **options):
        for n in range({ACCOUNTS}):
            User.objects.create(username=f"user{{n}}", email=f"user{{n}}@example.com")
""",
}


def _against_django(installation: Installation, folder: Path, rounds: int) -> list[Row]:
    say("users list : a Django command that lists users …")
    project = folder / "django"
    for name, source in _PROJECT.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "django"]
    subprocess.run(pip, check=True, env=environ())
    subprocess.run([python, "-m", "compileall", "-q", folder / "venv"], check=False)

    def manage(*args: str) -> Program:
        return Program(argv=(python, "manage.py", *args), env=environ(), cwd=project)

    once(manage("migrate"))
    once(manage("add_users"))
    pair = pairs(installation.flask("users", "list"), manage("list_users"), rounds)
    return [Row("users list : Django listing users", f"{pair.cpu:.2f}{_figures(pair)}")]


if __name__ == "__main__":
    sys.exit(main())
