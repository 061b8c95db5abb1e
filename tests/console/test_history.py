"""The console's history: nothing that happens to it keeps the console from its work."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support import Database
from tests.support.console_play import play

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
ENDS = "; the history ends with this session."


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE x (y)")
        connection.execute("BEGIN EXCLUSIVE")
        yield


def foreign(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE sessions (x)")


def torn(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE x (y)")
        connection.executemany("INSERT INTO x VALUES (?)", [("z" * 900,) for _ in range(20)])
        connection.commit()
    content = file.read_bytes()
    file.write_bytes(content[:5000] + b"\xff" * (len(content) - 5000))


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (lambda file: file.write_bytes(b"no database" * 100), "file is not a database"),
    "torn": (torn, "it is damaged"),
    "foreign": (foreign, "table sessions has 1 columns but 5 values were supplied"),
    "folder": (Path.mkdir, "Is a directory"),
    "pipe": (os.mkfifo, "not a regular file"),
    "link": (lambda file: file.symlink_to("/dev/full"), "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_console_starts_without_its_history(how: str, database: Database, ada: str) -> None:
    file = database.instance / "shell" / "history.sqlite"
    file.parent.mkdir()
    spoil, why = SPOILED[how]
    spoil(file)
    printed = play(database.environ, database.instance, "write", ["6*7", "%history"], history=True)
    remark = f"Warning: {file} cannot be used ({why}){ENDS}\n"
    assert printed.count("cannot be used") == 1, printed
    assert remark in printed
    assert "42\n6*7\n%history\n" in printed


def test_console_starts_while_its_history_is_locked(database: Database, ada: str) -> None:
    file = database.instance / "shell" / "history.sqlite"
    file.parent.mkdir()
    with locked(file):
        printed = play(database.environ, database.instance, "write", ["6*7"], history=True)
    assert printed.count("cannot be used") == 1, printed
    assert f"Warning: {file} cannot be used (database is locked){ENDS}\n" in printed
    assert "42\n" in printed
    assert [path.name for path in file.parent.glob("history*")] == ["history.sqlite"]


def test_console_goes_on_when_its_history_is_damaged_meanwhile(
    database: Database, ada: str
) -> None:
    file = database.instance / "shell" / "history.sqlite"
    damage = f"n = open({str(file)!r}, 'r+b').write(b'x' * 9000)"
    cells = ["1", damage, "get_ipython().history_manager.writeout_cache()", "6*7", "%history -l 1"]
    printed = play(database.environ, database.instance, "write", cells, history=True)
    assert printed.count("cannot be used") == 1, printed
    # SQLite finds it out at one page or another.
    reasons = ("file is not a database", "database disk image is malformed")
    assert any(f"Warning: {file} cannot be used ({why}){ENDS}\n" in printed for why in reasons)
    assert "42\n6*7\n" in printed


def test_console_keeps_its_history(database: Database, ada: str) -> None:
    play(database.environ, database.instance, "write", ["6*7"], history=True)
    printed = play(database.environ, database.instance, "write", ["%history -g 6*7"], history=True)
    assert "1/1: 6*7" in printed
    file = database.instance / "shell" / "history.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["shell", "shell/profile_default"])
def test_console_starts_without_its_folder(name: str, database: Database, ada: str) -> None:
    path = database.instance / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    printed = play(database.environ, database.instance, "write", ["6*7"], history=True)
    assert printed.count("cannot be used") == 1, printed
    assert f"Warning: {database.instance / 'shell'} cannot be used (" in printed
    assert "42\n" in printed
    assert path.read_text() == "in the way"
