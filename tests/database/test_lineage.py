"""Migrations that are no line: refused by every verb, with both files and the way to mend it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from opsapp.database import lineage
from opsapp.errors import NotReady
from opsapp.migrations import Branch
from opsapp.settings import config
from tests.support import CORE, ROOT, Database, call
from tests.support.web import site


def write(folder: Path, revision: str, parent: object, name: str | None = None) -> Path:
    """A migration of a table of its own."""
    path = folder / (name or f"{revision}_add.py")
    path.write_text(
        f"from alembic import op\nrevision = {revision!r}\ndown_revision = {parent!r}\n"
        f"branch_labels = depends_on = None\n"
        f"def upgrade():\n    op.execute('CREATE TABLE t{path.stem[:12]} (id integer)')\n"
        f"def downgrade():\n    op.execute('DROP TABLE t{path.stem[:12]}')\n"
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations in line."""
    folder = tmp_path / "shop"
    folder.mkdir()
    write(folder, "s0001", None)
    write(folder, "s0002", "s0001")
    return folder


def twins(folder: Path) -> None:
    write(folder, "s0003", "s0002", "s0003_add_a.py")
    write(folder, "s0003", "s0002", "s0003_add_b.py")


def copied(folder: Path) -> None:
    shutil.copy(folder / "s0002_add.py", folder / "s0002_add (copy).py")


def copied_in_front(folder: Path) -> None:
    shutil.copy(folder / "s0002_add.py", folder / "Copy of s0002_add.py")


def forked(folder: Path) -> None:
    write(folder, "s0003bcdfg", "s0002")
    write(folder, "s0003hjkmn", "s0002")


def forked_long(folder: Path) -> None:
    write(folder, "s0003bcdfg", "s0002")
    write(folder, "s0003hjkmn", "s0002")
    write(folder, "s0004hjkmn", "s0003hjkmn")


def begun_twice(folder: Path) -> None:
    write(folder, "s0003", None)


def orphaned(folder: Path) -> None:
    write(folder, "s0004", "s0003")


def circular(folder: Path) -> None:
    write(folder, "s0003", "s0004")
    write(folder, "s0004", "s0003")


def following_itself(folder: Path) -> None:
    write(folder, "s0003", "s0003")


def misnamed(folder: Path) -> None:
    write(folder, "s0003", "s0002", "s0004_add.py")


def strange(folder: Path) -> None:
    write(folder, "8f3a11", "s0002")


def unnumbered(folder: Path) -> None:
    (folder / "notes.py").write_text("x = 1\n")


def broken(folder: Path) -> None:
    (folder / "s0003_add.py").write_text("revision = 's0003'\nimport nothing_of_the_kind\n")


def unfinished(folder: Path) -> None:
    (folder / "s0003_add.py").write_text("<<<<<<< HEAD\nrevision = 's0003'\n")


def leaving(folder: Path) -> None:
    (folder / "s0003_add.py").write_text("raise SystemExit('bye')\n")


def lost(folder: Path) -> None:
    (folder / "s0003_add.py").symlink_to(folder / "nowhere.py")


def disordered(folder: Path) -> None:
    write(folder, "s0004", "s0002")
    write(folder, "s0003", "s0004")


RENUMBER = 'with revision = "{0}" and down_revision = "{1}" in it'
CASES: dict[Callable[[Path], None], tuple[str, str]] = {
    twins: (
        "two migrations are revision s0003: shop/s0003_add_a.py and shop/s0003_add_b.py",
        "renumber one: name shop/s0003_add_b.py s0004_add_b.py, "
        + RENUMBER.format("s0004", "s0003"),
    ),
    copied: (
        "two migrations are revision s0002: shop/s0002_add (copy).py and shop/s0002_add.py",
        "they are the same: remove shop/s0002_add (copy).py",
    ),
    copied_in_front: (
        "two migrations are revision s0002: shop/Copy of s0002_add.py and shop/s0002_add.py",
        "they are the same: remove shop/Copy of s0002_add.py",
    ),
    forked: (
        "two migrations follow s0002: shop/s0003bcdfg_add.py and shop/s0003hjkmn_add.py",
        "renumber one: name shop/s0003hjkmn_add.py s0004hjkmn_add.py, "
        + RENUMBER.format("s0004hjkmn", "s0003bcdfg"),
    ),
    forked_long: (
        "two migrations follow s0002: shop/s0003bcdfg_add.py and shop/s0003hjkmn_add.py",
        "renumber one: name shop/s0003bcdfg_add.py s0005bcdfg_add.py, "
        + RENUMBER.format("s0005bcdfg", "s0004hjkmn"),
    ),
    begun_twice: (
        "two migrations follow nothing: shop/s0001_add.py and shop/s0003_add.py",
        "renumber one: name shop/s0003_add.py s0004_add.py, " + RENUMBER.format("s0004", "s0002"),
    ),
    orphaned: (
        "shop/s0004_add.py follows s0003, which is not there",
        "bring that file back, or set down_revision to the one before it",
    ),
    circular: (
        "these migrations follow each other in a circle: shop/s0003_add.py, shop/s0004_add.py",
        "set down_revision of the first to the one before it",
    ),
    following_itself: (
        "these migrations follow each other in a circle: shop/s0003_add.py",
        "set down_revision of the first to the one before it",
    ),
    misnamed: (
        "the name of shop/s0004_add.py does not begin with its revision s0003",
        "name it s0003_….py",
    ),
    strange: (
        "the revision of shop/8f3a11_add.py is 8f3a11, and those of its folder are s0001 and so on",
        "its next is s0003; or move the file elsewhere",
    ),
    unnumbered: (
        "shop/notes.py is not a migration: it has no revision",
        "move it elsewhere",
    ),
    broken: (
        "the migration shop/s0003_add.py cannot be imported:"
        " ModuleNotFoundError: No module named 'nothing_of_the_kind'",
        "fix the file, or remove it if it is not a migration",
    ),
    unfinished: (
        "the migration shop/s0003_add.py cannot be imported:"
        " SyntaxError: invalid syntax (s0003_add.py, line 1)",
        "fix the file, or remove it if it is not a migration",
    ),
    leaving: (
        "the migration shop/s0003_add.py cannot be imported: SystemExit: bye",
        "fix the file, or remove it if it is not a migration",
    ),
    disordered: (
        "shop/s0003_add.py follows s0004, whose number is not lower",
        "renumber one: name shop/s0003_add.py s0005_add.py, " + RENUMBER.format("s0005", "s0004"),
    ),
}


@pytest.mark.parametrize("confuse", CASES, ids=lambda confuse: confuse.__name__)
def test_files_that_are_no_line_are_named(folder: Path, confuse: Callable[[Path], None]) -> None:
    lineage.check([Branch("s", folder)])
    confuse(folder)
    with pytest.raises(NotReady) as refused:
        lineage.check([Branch("s", folder)])
    assert (refused.value.message, refused.value.hint) == CASES[confuse]


def test_link_to_nowhere_is_named(folder: Path) -> None:
    lost(folder)
    with pytest.raises(NotReady, match=r"the migration shop/s0003_add\.py cannot be imported"):
        lineage.check([Branch("s", folder)])


@pytest.mark.parametrize("confuse", [twins, forked, forked_long, begun_twice, disordered])
def test_renumbering_as_it_is_said_makes_a_line(
    folder: Path, confuse: Callable[[Path], None]
) -> None:
    confuse(folder)
    for _ in range(3):
        try:
            lineage.check([Branch("s", folder)])
        except NotReady as refused:
            follow(folder, refused.hint or "")
    lineage.check([Branch("s", folder)])


def follow(folder: Path, hint: str) -> None:
    """Do what the hint says."""
    message = re.fullmatch(
        r'renumber one: name shop/(\S+) (\S+), with revision = "(\w+)"'
        r' and down_revision = "(\w+)" in it',
        hint,
    )
    assert message is not None
    (folder / message[1]).unlink()
    write(folder, message[3], message[4], message[2])


def test_revision_of_one_branch_is_none_of_another(folder: Path, tmp_path: Path) -> None:
    toys = tmp_path / "toys"
    toys.mkdir()
    shutil.copy(folder / "s0002_add.py", toys)
    branches = [Branch("s", folder), Branch("toys", toys)]
    with pytest.raises(NotReady) as refused:
        lineage.check(branches)
    names = "shop/s0002_add.py and toys/s0002_add.py"
    assert refused.value.message == f"two migrations are revision s0002: {names}"
    (toys / "s0002_add.py").unlink()
    write(toys, "toys0001", None)
    lineage.check(branches)
    write(toys, "toys0002", "s0002")
    with pytest.raises(NotReady, match=r"toys/toys0002_add\.py follows s0002, which is not"):
        lineage.check(branches)


# --- every verb ----------------------------------------------------------------


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of our migrations, which the code takes for its own."""
    copy = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", copy)
    monkeypatch.setattr(config, "migrations_folder", lambda: copy)
    return copy


def confused(migrations: Path) -> str:
    """Two developers write the next migration; what is said of it."""
    for name in ("add_a", "add_b"):
        write(migrations / "core", "core0002", CORE, f"core0002_{name}.py")
    return "two migrations are revision core0002: core/core0002_add_a.py and core/core0002_add_b.py"


VERBS = (
    "upgrade", "downgrade --yes", "stamp head --yes", "current", "check", "history", "heads",
    "show head", "migrate -m x", "revision -m x", "upgrade --sql", "init", "init --dry-run",
    "status",
)  # fmt: skip


def test_every_verb_refuses_migrations_that_are_no_line(
    database: Database, migrations: Path
) -> None:
    message = confused(migrations)
    before = database.rows("SELECT * FROM ops_alembic_version")
    files = sorted(migrations.rglob("*.py"))
    for verb in VERBS:
        done = call(database, "db", *verb.split())
        assert (verb, done.exit_code, done.stdout) == (verb, 7, "")
        assert done.stderr.splitlines()[0] == f"Error: {message}", verb
        assert len(done.stderr.splitlines()) == 2, verb
    assert database.rows("SELECT * FROM ops_alembic_version") == before
    assert sorted(migrations.rglob("*.py")) == files


def test_doctor_and_readiness_refuse_them_too(
    database: Database, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch) as web:
        client = web.app.test_client()
        assert client.get("/readyz").status_code == 200
        message = confused(migrations)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json) == (
            503, {"status": "not ready", "because": "not-ready"},
        )  # fmt: skip
    done = call(database, "doctor", "--format", "json")
    assert done.exit_code == 6
    checks = {row["check"]: row for row in json.loads(done.stdout)}
    assert (checks["migrations"]["state"], checks["migrations"]["says"]) == ("fail", message)
    assert checks["database"]["state"] != "fail"
    assert checks["audit"]["state"] == "ok"


def test_two_who_migrate_at_once_never_write_the_same_revision(
    database: Database, migrations: Path
) -> None:
    written, folder = [], migrations / "accounts"
    shipped = {*folder.glob("*.py")}
    for _ in "ab":
        call(database, "db", "revision", "-m", "add", "--head", "accounts@head", check=True)
        (path,) = {*folder.glob("*.py")} - shipped
        written.append(path.rename(migrations / path.name))
    names = [path.name for path in written]
    assert re.fullmatch(r"accounts\d{4}[a-z]{5}_add\.py", names[0])
    assert names[0] != names[1]
    written[0].rename(folder / names[0])
    call(database, "db", "init", check=True)
    written[0] = (folder / names[0]).rename(migrations / names[0])
    written[1].rename(folder / names[1])
    done = call(database, "db", "upgrade")
    first, second = (name.removesuffix("_add.py") for name in names)
    assert (done.exit_code, done.stderr) == (
        7,
        f"Error: the tables of accounts are at revision {first}, and this code is at {second}\n"
        "  → bring the file of that migration back;"
        " flask db stamp --purge, if it was renumbered\n",
    )
