"""Files that a user names for us to write: never one of the installation's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import opsapp
from opsapp import settings
from opsapp.settings import config
from tests.support import Cli, Database, call

WRITERS = {
    "backup": ("db", "backup", "--overwrite"),
    "report": ("profile", "report", "--html"),
}
"""The options that name a file: each asks the same place."""


def refused(database: Database, file: str | Path) -> tuple[int, str]:
    instance = database.instance
    return 5, (
        f"Error: {file} belongs to this installation\n"
        f"  → name a file in {instance / 'backups'}, or one outside of {instance}\n"
    )


@pytest.fixture
def kind() -> str:
    """SQLite alone: the other database has no files of ours."""
    return "sqlite"


@pytest.fixture(params=list(WRITERS))
def writer(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The words of a command that the name of its file follows."""
    return WRITERS[request.param]


@pytest.fixture
def installation(database: Database) -> Database:
    """One that has been in use."""
    (database.instance / "secrets").mkdir(exist_ok=True)
    (database.instance / "secrets" / "of_ours").write_text("secret")
    (database.instance / "errors.log").write_text("{}\n")
    return database


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, but the database and what comes and goes beside it."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "sqlite" not in path.name
    }


@pytest.mark.parametrize(
    "name",
    [
        "opsapp.sqlite", "opsapp.sqlite-wal", "opsapp.sqlite-shm", "opsapp.sqlite-journal",
        "opsapp.sqlite.migrate.lock", "opsapp.sqlite.job.nightly.lock", "secrets",
        "secrets/of_ours", "secrets/another", "errors.log", "jobs.toml", "transcripts/x.jsonl",
        ".env", "../instance/opsapp.sqlite", "secrets/../opsapp.sqlite",
    ],
)  # fmt: skip
def test_files_of_the_instance_are_refused(
    installation: Database, writer: tuple[str, ...], name: str
) -> None:
    before = contents(installation.instance)
    file = f"{installation.instance}/{name}"
    found = call(installation, *writer, file)
    code, says = refused(installation, file)
    if name == "secrets":  # It is there, and no file.
        says = f"Error: {file} is not a file\n"
    assert (found.exit_code, found.stderr) == (code, says)
    assert contents(installation.instance) == before
    assert installation.rows("PRAGMA integrity_check") == [("ok",)]


def link_to_database(instance: Path, place: Path) -> Path:
    (place / "link").symlink_to(instance / "opsapp.sqlite")
    return place / "link"


def hard_link_to_database(instance: Path, place: Path) -> Path:
    (place / "hard").hardlink_to(instance / "opsapp.sqlite")
    return place / "hard"


def hard_link_to_secret(instance: Path, place: Path) -> Path:
    (place / "hard").hardlink_to(instance / "secrets" / "of_ours")
    return place / "hard"


def through_a_linked_folder(instance: Path, place: Path) -> Path:
    (place / "folder").symlink_to(instance)
    return place / "folder" / "opsapp.sqlite-wal"


def into_a_folder_elsewhere(instance: Path, place: Path) -> Path:
    (place / "kept").mkdir()
    (instance / "transcripts").symlink_to(place / "kept")
    return place / "kept" / "new"


def dangling_link(instance: Path, place: Path) -> Path:
    (place / "link").symlink_to(instance / "jobs.toml")
    return place / "link"


@pytest.mark.parametrize(
    "spelling",
    [
        link_to_database,
        hard_link_to_database,
        hard_link_to_secret,
        through_a_linked_folder,
        into_a_folder_elsewhere,
        dangling_link,
    ],
)
def test_other_spellings_are_refused(
    installation: Database,
    writer: tuple[str, ...],
    tmp_path: Path,
    spelling: Callable[[Path, Path], Path],
) -> None:
    file = spelling(installation.instance, tmp_path)
    before = contents(tmp_path)
    found = call(installation, *writer, str(file))
    assert (found.exit_code, found.stderr) == refused(installation, file)
    assert contents(tmp_path) == before
    assert installation.rows("PRAGMA integrity_check") == [("ok",)]


def test_database_and_settings_elsewhere_are_refused(
    installation: Database, writer: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "data"
    place.mkdir()
    file = (installation.instance / "opsapp.sqlite").rename(place / "live.sqlite")
    key = tmp_path / "key"
    key.write_text("k" * 20 + "0123456789" * 3)
    environ = {"OPSAPP_DATABASE_URL": f"sqlite:///{file}", "SECRET_KEY_FILE": str(key)}
    kept = [key, *(f"{file}{end}" for end in ("", "-wal", "-shm", "-journal", ".x.lock"))]
    for target in kept:
        found = call(installation, *writer, str(target), **environ)
        assert (found.exit_code, found.stderr) == refused(installation, target)
    assert call(installation, *writer, f"{file}.copy", **environ).exit_code == 0


@pytest.mark.parametrize(
    "place",
    [
        settings.SHIPPED_JOBS,
        Path(opsapp.__file__),
        config.PACKAGE / "commands" / "mail.py",
        config.migrations_folder() / "env.py",
        config.PACKAGE / "jobs" / "new.toml",
    ],
    ids=lambda place: f"{place.parent.name}/{place.name}",
)
def test_files_of_the_program_are_refused(
    database: Database, writer: tuple[str, ...], place: Path
) -> None:
    before = place.read_bytes() if place.exists() else None
    result = call(database, *writer, str(place))
    assert (result.exit_code, result.stderr) == refused(database, place)
    assert (place.read_bytes() if place.exists() else None) == before


def test_hard_link_to_a_file_of_the_program_is_refused(
    database: Database, writer: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text("")
    (tmp_path / "hard").hardlink_to(package / "module.py")
    monkeypatch.setattr(config, "PACKAGE", package)
    result = call(database, *writer, str(tmp_path / "hard"))
    assert (result.exit_code, result.stderr) == refused(database, tmp_path / "hard")


@pytest.mark.parametrize("name", ["new", "backups/new", "backups/old"])
def test_new_files_and_copies_of_the_instance_are_written(
    installation: Database, writer: tuple[str, ...], name: str
) -> None:
    (installation.instance / "backups").mkdir()
    (installation.instance / "backups" / "old").write_text("old")
    assert call(installation, *writer, name).exit_code == 0
    assert (installation.instance / name).stat().st_size > 1000


def test_link_is_followed_to_a_copy_elsewhere(
    installation: Database, writer: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "latest").symlink_to(tmp_path / "monday")
    assert call(installation, *writer, str(tmp_path / "latest")).exit_code == 0
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "monday").stat().st_size > 1000


def test_what_is_no_file_is_refused(cli: Cli, writer: tuple[str, ...], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        found = cli(*writer, str(file))
        assert (found.exit_code, found.stderr) == (5, f"Error: {file} is not a file\n")


def test_name_of_stdout_is_no_file(cli: Cli) -> None:
    done = cli("profile", "report", "--html", "-")
    assert (done.exit_code, done.stdout, done.stderr) == (
        5, "", "Error: - is no file\n  → ./- is a file of this name\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 300, "File name too long"),
        ("x" * 250, "File name too long"),  # That of its draft is longer.
        ("none/x", "No such file or directory"),
        ("file/x", "Not a directory"),
    ],
)
def test_place_where_no_file_can_be_is_said(
    cli: Cli, writer: tuple[str, ...], tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    found = cli(*writer, f"{tmp_path}/{name}")
    assert (found.exit_code, found.stderr) == (
        1,
        f"Error: {tmp_path}/{name} cannot be written: {why}\n",
    )


def test_draft_of_another_user_is_in_the_way(
    cli: Cli, writer: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "theirs").write_text("")
    (tmp_path / ".copy.part").hardlink_to(tmp_path / "theirs")  # They could read it there.
    draft = tmp_path / ".copy.part"
    found = cli(*writer, str(tmp_path / "copy"))
    assert (found.exit_code, found.stderr) == (
        5,
        f"Error: {draft} exists, and opsapp did not create it\n  → look at it: ls -l {draft}\n",
    )
    assert (tmp_path / "theirs").read_text() == ""


def test_draft_that_a_power_cut_left_is_used_up(
    cli: Cli, writer: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / ".copy.part").write_text("half of it")
    assert cli(*writer, str(tmp_path / "copy")).exit_code == 0
    assert not (tmp_path / ".copy.part").exists()
    assert b"half of it" not in (tmp_path / "copy").read_bytes()
