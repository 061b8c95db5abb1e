"""Migrations that are no line: refused by every verb, with both files and the way to mend it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from opsapp import config
from opsapp.database import lineage
from opsapp.errors import NotReady
from opsapp.migrations import Branch
from tests.support import HEAD, ROOT, Database, call
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
    folder = tmp_path / "versions"
    folder.mkdir()
    write(folder, "0001", None)
    write(folder, "0002", "0001")
    return folder


def twins(folder: Path) -> None:
    write(folder, "0003", "0002", "0003_add_a.py")
    write(folder, "0003", "0002", "0003_add_b.py")


def copied(folder: Path) -> None:
    shutil.copy(folder / "0002_add.py", folder / "0002_add (copy).py")


def copied_in_front(folder: Path) -> None:
    shutil.copy(folder / "0002_add.py", folder / "Copy of 0002_add.py")


def forked(folder: Path) -> None:
    write(folder, "0003bcdfg", "0002")
    write(folder, "0003hjkmn", "0002")


def forked_long(folder: Path) -> None:
    write(folder, "0003bcdfg", "0002")
    write(folder, "0003hjkmn", "0002")
    write(folder, "0004hjkmn", "0003hjkmn")


def begun_twice(folder: Path) -> None:
    write(folder, "0003", None)


def orphaned(folder: Path) -> None:
    write(folder, "0004", "0003")


def circular(folder: Path) -> None:
    write(folder, "0003", "0004")
    write(folder, "0004", "0003")


def following_itself(folder: Path) -> None:
    write(folder, "0003", "0003")


def misnamed(folder: Path) -> None:
    write(folder, "0003", "0002", "0004_add.py")


def strange(folder: Path) -> None:
    write(folder, "8f3a11", "0002")


def unnumbered(folder: Path) -> None:
    (folder / "notes.py").write_text("x = 1\n")


def broken(folder: Path) -> None:
    (folder / "0003_add.py").write_text("revision = '0003'\nimport nothing_of_the_kind\n")


def unfinished(folder: Path) -> None:
    (folder / "0003_add.py").write_text("<<<<<<< HEAD\nrevision = '0003'\n")


def leaving(folder: Path) -> None:
    (folder / "0003_add.py").write_text("raise SystemExit('bye')\n")


def lost(folder: Path) -> None:
    (folder / "0003_add.py").symlink_to(folder / "nowhere.py")


def disordered(folder: Path) -> None:
    write(folder, "0004", "0002")
    write(folder, "0003", "0004")


RENUMBER = 'with revision = "{0}" and down_revision = "{1}" in it'
CASES: dict[Callable[[Path], None], tuple[str, str]] = {
    twins: (
        "two migrations are revision 0003: versions/0003_add_a.py and versions/0003_add_b.py",
        "renumber one: name versions/0003_add_b.py 0004_add_b.py, "
        + RENUMBER.format("0004", "0003"),
    ),
    copied: (
        "two migrations are revision 0002: versions/0002_add (copy).py and versions/0002_add.py",
        "they are the same: remove versions/0002_add (copy).py",
    ),
    copied_in_front: (
        "two migrations are revision 0002: versions/0002_add.py and versions/Copy of 0002_add.py",
        "they are the same: remove versions/Copy of 0002_add.py",
    ),
    forked: (
        "two migrations follow 0002: versions/0003bcdfg_add.py and versions/0003hjkmn_add.py",
        "renumber one: name versions/0003hjkmn_add.py 0004hjkmn_add.py, "
        + RENUMBER.format("0004hjkmn", "0003bcdfg"),
    ),
    forked_long: (
        "two migrations follow 0002: versions/0003bcdfg_add.py and versions/0003hjkmn_add.py",
        "renumber one: name versions/0003bcdfg_add.py 0005bcdfg_add.py, "
        + RENUMBER.format("0005bcdfg", "0004hjkmn"),
    ),
    begun_twice: (
        "two migrations follow nothing: versions/0001_add.py and versions/0003_add.py",
        "renumber one: name versions/0003_add.py 0004_add.py, " + RENUMBER.format("0004", "0002"),
    ),
    orphaned: (
        "versions/0004_add.py follows 0003, which is not there",
        "bring that file back, or set down_revision to the one before it",
    ),
    circular: (
        "these migrations follow each other in a circle:"
        " versions/0003_add.py, versions/0004_add.py",
        "set down_revision of the first to the one before it",
    ),
    following_itself: (
        "these migrations follow each other in a circle: versions/0003_add.py",
        "set down_revision of the first to the one before it",
    ),
    misnamed: (
        "the name of versions/0004_add.py does not begin with its revision 0003",
        "name it 0003_….py",
    ),
    strange: (
        "the revision of versions/8f3a11_add.py is 8f3a11,"
        " and those of its folder are 0001 and so on",
        "its next is 0003; or move the file elsewhere",
    ),
    unnumbered: (
        "versions/notes.py is no migration: it has no revision",
        "move it elsewhere",
    ),
    broken: (
        "the migration versions/0003_add.py cannot be imported:"
        " ModuleNotFoundError: No module named 'nothing_of_the_kind'",
        "mend the file, or remove it if it is none",
    ),
    unfinished: (
        "the migration versions/0003_add.py cannot be imported:"
        " SyntaxError: invalid syntax (0003_add.py, line 1)",
        "mend the file, or remove it if it is none",
    ),
    leaving: (
        "the migration versions/0003_add.py cannot be imported: SystemExit: bye",
        "mend the file, or remove it if it is none",
    ),
    disordered: (
        "versions/0003_add.py follows 0004, whose number is not lower",
        "renumber one: name versions/0003_add.py 0005_add.py, " + RENUMBER.format("0005", "0004"),
    ),
}


@pytest.mark.parametrize("confuse", CASES, ids=lambda confuse: confuse.__name__)
def test_files_that_are_no_line_are_named(folder: Path, confuse: Callable[[Path], None]) -> None:
    lineage.check([Branch("", folder)])
    confuse(folder)
    with pytest.raises(NotReady) as refused:
        lineage.check([Branch("", folder)])
    assert (refused.value.message, refused.value.hint) == CASES[confuse]


def test_link_to_nowhere_is_named(folder: Path) -> None:
    lost(folder)
    with pytest.raises(NotReady, match=r"the migration versions/0003_add\.py cannot be imported"):
        lineage.check([Branch("", folder)])


@pytest.mark.parametrize("confuse", [twins, forked, forked_long, begun_twice, disordered])
def test_renumbering_as_it_is_said_makes_a_line(
    folder: Path, confuse: Callable[[Path], None]
) -> None:
    confuse(folder)
    for _ in range(3):
        try:
            lineage.check([Branch("", folder)])
        except NotReady as refused:
            follow(folder, refused.hint or "")
    lineage.check([Branch("", folder)])


def follow(folder: Path, hint: str) -> None:
    """Do what the hint says."""
    message = re.fullmatch(
        r'renumber one: name versions/(\S+) (\S+), with revision = "(\w+)"'
        r' and down_revision = "(\w+)" in it',
        hint,
    )
    assert message is not None
    (folder / message[1]).unlink()
    write(folder, message[3], message[4], message[2])


def test_revision_of_the_application_is_not_one_of_ours(folder: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    shutil.copy(folder / "0002_add.py", shop)
    branches = [Branch("", folder), Branch("shop", shop)]
    with pytest.raises(NotReady) as refused:
        lineage.check(branches)
    names = "versions/0002_add.py and shop/0002_add.py"
    assert refused.value.message == f"two migrations are revision 0002: {names}"
    (shop / "0002_add.py").unlink()
    write(shop, "shop0001", None)
    lineage.check(branches)
    write(shop, "shop0002", "0002")
    with pytest.raises(NotReady, match=r"shop/shop0002_add\.py follows 0002, which is not there"):
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
    following = f"{int(HEAD) + 1:04d}"
    for name in ("add_a", "add_b"):
        write(migrations / "versions", following, HEAD, f"{following}_{name}.py")
    return (
        f"two migrations are revision {following}:"
        f" versions/{following}_add_a.py and versions/{following}_add_b.py"
    )


VERBS = (
    "upgrade", "downgrade --yes", "stamp head --yes", "current", "check", "history", "heads",
    "show head", "migrate -m x", "revision -m x", "merge heads", "upgrade --sql", "init",
    "init --dry-run", "status",
)  # fmt: skip


def test_every_verb_refuses_migrations_that_are_no_line(
    database: Database, migrations: Path
) -> None:
    message = confused(migrations)
    before = database.rows("SELECT * FROM alembic_version")
    files = sorted(path.name for path in (migrations / "versions").glob("*.py"))
    for verb in VERBS:
        done = call(database, "db", *verb.split())
        assert (verb, done.exit_code, done.stdout) == (verb, 7, "")
        assert done.stderr.splitlines()[0] == f"Error: {message}", verb
        assert len(done.stderr.splitlines()) == 2, verb
    assert database.rows("SELECT * FROM alembic_version") == before
    assert sorted(path.name for path in (migrations / "versions").glob("*.py")) == files


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
    assert checks["database"]["state"] == "ok"
    assert checks["audit"]["state"] == "ok"


def test_two_who_migrate_at_once_never_write_the_same_revision(
    database: Database, migrations: Path
) -> None:
    written = []
    for _ in "ab":
        call(database, "db", "revision", "-m", "add", check=True)
        (path,) = (migrations / "versions").glob(f"{int(HEAD) + 1:04d}*.py")
        written.append(path.rename(migrations / path.name))
    names = [path.name for path in written]
    assert re.fullmatch(rf"{int(HEAD) + 1:04d}[a-z]{{5}}_add\.py", names[0])
    assert names[0] != names[1]
    written[0].rename(migrations / "versions" / names[0])
    call(database, "db", "init", check=True)
    written[0] = (migrations / "versions" / names[0]).rename(migrations / names[0])
    written[1].rename(migrations / "versions" / names[1])
    done = call(database, "db", "upgrade")
    first, second = (name.removesuffix("_add.py") for name in names)
    assert (done.exit_code, done.stderr) == (
        7,
        f"Error: the database is at revision {first}, and this code is at {second}\n"
        "  → bring the file of that migration back;"
        " flask db stamp --purge, if it was renumbered\n",
    )
