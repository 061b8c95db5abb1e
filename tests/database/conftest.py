"""A copy of yesterday, which a backup replaces or leaves."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Yesterday's copy."""
    (tmp_path / "copies").mkdir()
    file = tmp_path / "copies" / "copy"
    file.write_text("yesterday's")
    return file


@pytest.fixture
def postgresql_only(kind: str) -> None:
    """For a test of what only PostgreSQL has."""
    if kind != "postgresql":
        pytest.skip("speaks of pg_dump")


def is_as_before(copy: Path) -> bool:
    return [path.name for path in copy.parent.iterdir()] == ["copy"] and (
        copy.read_text() == "yesterday's"
    )
