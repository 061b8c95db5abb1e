"""The page of what was tried: a run of some files adds its counts to those that the page has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import page

BEGINNING = (
    ("Races", "import", "sqlite", "exit 0", 1200),
    ("Hostile input", "values", "", "examples", 60),
    ("Waiting", "next command", "SQLite", "1", 0.5),
    ("Waiting", "next command", "SQLite", "1", 1.5),
    ("Run", "`tests/faults`", "", "10% of the long form, seed 1", 0),
    ("Note", "The second run\nwas ended.", "", "", 0),
)
MORE = (
    ("Races", "import", "sqlite", "exit 0", 34),
    ("Waiting", "next command", "SQLite", "1", 1),
)


def tally(*lines: tuple[object, ...]) -> list[str]:
    return [json.dumps(line) for line in lines]


def test_counts_of_a_page_make_the_same_page() -> None:
    text = page.written(tally(*BEGINNING))
    assert page.written(page.counts_of(text)) == text
    assert "| import | SQLite | exit 0 | 1,200 |\n" in text


def test_page_of_some_tests_adds_to_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, counts = tmp_path / "page.md", tmp_path / "counts"
    monkeypatch.setattr(page, "PAGE", path)
    path.write_text(page.written(tally(*BEGINNING)))
    counts.write_text("\n".join(tally(*MORE)))
    page.main(counts, 0, ["tests/faults/test_races.py"])
    text = path.read_text()
    assert "| import | SQLite | exit 0 | 1,234 |\n" in text
    assert "| values | – | examples | 60 |\n" in text
    assert ": 3 on SQLite (the slowest took 1.5 s).\n" in text
    assert (
        "\n- `tests/faults`: 10% of the long form, seed 1\n- `tests/faults/test_races.py`:" in text
    )
    assert "\nThe second run\nwas ended.\n" in text
    assert not counts.exists()


def test_page_of_all_tests_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, counts = tmp_path / "page.md", tmp_path / "counts"
    monkeypatch.setattr(page, "PAGE", path)
    path.write_text(page.written(tally(*BEGINNING)))
    counts.write_text("\n".join(tally(*MORE)))
    page.main(counts, 0, ["tests/faults"])
    assert "| import | SQLite | exit 0 | 34 |\n" in path.read_text()
    assert "second run" not in path.read_text()


def test_failure_stays_on_the_page_of_the_next_run() -> None:
    failed = ("Failed", "test_races[sqlite]", "", "failed", 1)
    run = ("Run", "`tests/faults`", "", "10% of the long form, seed 1", 1)
    text = page.written(page.counts_of(page.written(tally(failed, run))))
    ended = "(pytest exited 1). Tests with a broken promise: `test_races[sqlite]`."
    assert f"\n**An earlier run failed** {ended}\n" in text
    assert page.written(page.counts_of(text)) == text
