"""`make test` and `make test-other` together run each test once on each database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import parts


def an_item(test: str, kind: str | None = None, *fixtures: str) -> Any:
    words = f"{kind}-{test}" if kind else test
    callspec = SimpleNamespace(params={"kind": kind})
    return SimpleNamespace(
        nodeid=f"tests/{test}.py::test[{words}]", callspec=callspec, fixturenames=fixtures
    )


TESTS = [f"house/test_{number}" for number in range(40)]
ITEMS = [
    *(an_item(test, kind) for test in [*TESTS, "unit/test_work"] for kind in parts.KINDS),
    *(an_item("cli/test_files", kind, "sqlite_only") for kind in parts.KINDS),
    an_item("web/test_postgresql", "postgresql"),
    an_item("test_text"),
    an_item("web/test_browser", "sqlite"),
]


def selected(monkeypatch: pytest.MonkeyPatch, part: str) -> list[str]:
    monkeypatch.setattr(parts, "PART", part)
    deselected: list[Any] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: deselected.extend(items))
    items = list(ITEMS)
    parts.deselect(SimpleNamespace(hook=hook), items)  # type: ignore[arg-type]
    assert len(items) + len(deselected) == len(ITEMS)
    return [item.nodeid for item in items]


def test_parts_are_all_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = selected(monkeypatch, "one"), selected(monkeypatch, "other")
    assert sorted(one + other) == sorted(item.nodeid for item in ITEMS)
    assert {nodeid.split("[")[0] for nodeid in one} == {
        item.nodeid.split("[")[0] for item in ITEMS[:-1]
    }


def test_part_has_either_database(monkeypatch: pytest.MonkeyPatch) -> None:
    one = selected(monkeypatch, "one")
    kinds = [kind for test in TESTS for kind in parts.KINDS if an_item(test, kind).nodeid in one]
    assert len(kinds) == len(TESTS)
    assert set(kinds) == set(parts.KINDS)
    assert [nodeid for nodeid in one if "/unit/" in nodeid or "files" in nodeid] == [
        "tests/unit/test_work.py::test[sqlite-unit/test_work]",
        "tests/unit/test_work.py::test[postgresql-unit/test_work]",
        "tests/cli/test_files.py::test[sqlite-cli/test_files]",
    ]


def test_everything_runs_without_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert selected(monkeypatch, "") == [item.nodeid for item in ITEMS]
