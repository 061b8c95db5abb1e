"""Every evasion we thought of, one by one: blocked, recorded, or known and said to be."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opsapp.console import transcript
from tests.support import ROOT, Database, administer
from tests.support.console_play import play

HERE = Path(__file__).parent
GUIDE = (ROOT / "docs" / "shell.md").read_text()


@dataclass(frozen=True)
class Case:
    """One evasion, with what its first lines say of it."""

    name: str
    path: Path
    mode: str
    on: str
    verdict: str
    says: str | None
    role: str | None

    @classmethod
    def of(cls, path: Path) -> Case:
        head = path.read_text().split("# %%\n")[0]
        said = dict(re.findall(r"^# (\w+): (.+)$", head, re.MULTILINE))
        return cls(
            path.stem,
            path,
            said["mode"],
            said["on"],
            said["verdict"],
            said.get("says"),
            said.get("role"),
        )

    @property
    def cells(self) -> list[str]:
        return self.path.read_text().split("# %%\n")[1:]


CASES = [Case.of(path) for path in sorted(HERE.glob("cases/*.ipy"))]


def lines_of(database: Database) -> tuple[list[dict[str, Any]], int | None]:
    """The transcript of the only session, and where its chain is broken."""
    paths = list((database.instance / "transcripts").glob("*.jsonl"))
    if not paths:
        return [], None
    key = (database.instance / "secrets" / "opsapp_audit_key").read_text().strip().encode()
    found = transcript.read(paths[0], key)
    assert found is not None
    return found.lines, found.broken_at


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_evasion_ends_as_its_case_says(
    case: Case, database: Database, kind: str, ada: str, tmp_path: Path, request: Any
) -> None:
    if case.on not in ("both", kind):
        pytest.skip(f"speaks of {case.on}")
    environ = dict(database.environ)
    if case.role:
        environ["OPSAPP_READONLY_DATABASE_URL"] = reader_of(database, request)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    printed = play(environ, elsewhere, case.mode, case.cells)
    lines, broken_at = lines_of(database)
    said = [line["text"] for line in lines if "text" in line]
    about = f"{printed}\n{json.dumps(lines, indent=1)}"
    is_changed = database.rows("SELECT username FROM ops_users WHERE id = 1") == [("evil",)]
    assert case.cells[0].strip() in [text.strip() for text in said] or not lines, about
    if case.verdict == "blocked":
        assert not is_changed, about
    else:
        assert broken_at is None, about
    if case.verdict == "known":
        assert is_changed, f"{case.name} is blocked by now: say so\n{about}"
        assert f"`{case.name}`" in GUIDE
    if case.says:
        assert any(case.says in text for text in said), about


def reader_of(database: Database, request: Any) -> str:
    """The URL of a role that may read this database and not write it."""
    server = request.getfixturevalue("postgres")
    name = "reader_of_tests"
    if not database.rows("SELECT 1 FROM pg_roles WHERE rolname = :name", name=name):
        administer(server, f"CREATE ROLE {name} LOGIN")
    database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    return database.url.replace("//postgres:", f"//{name}:")


def test_corpus_is_large_enough() -> None:
    assert len(CASES) >= 40
    assert {case.verdict for case in CASES} == {"blocked", "recorded", "known"}


def test_guide_names_no_hole_that_is_closed() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE))
    assert named == {case.name for case in CASES if case.verdict == "known"}
