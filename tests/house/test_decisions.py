"""The decisions: each has its parts, and each anchor and module that a text names exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PARTS = ("Decision", "Why", "Instead of", "Measured")
SOURCES = sorted(
    path
    for folder in ("opsapp", "commands", "migrations", "examples", "tests", "bench", "docs")
    for path in ROOT.glob(f"{folder}/**/*.*")
    if path.suffix in {".py", ".md", ".toml", ".sh"}
)


def without_code(page: str) -> str:
    """The page without its fenced blocks, whose lines may begin with ``#``."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.M)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def missing(page: Path, anchor: str) -> bool:
    return not page.is_file() or anchor not in anchors(page)


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decision_has_its_parts_in_order(page: Path) -> None:
    entries = page.read_text().split("\n## ")[1:]
    parts = {
        entry.partition("\n")[0]: re.findall(r"^- \*\*(.+):\*\*", entry, re.M) for entry in entries
    }
    assert {heading: names for heading, names in parts.items() if tuple(names) != PARTS} == {}
    assert len(entries) == len(anchors(page)) - 1


def test_decision_that_a_text_names_exists() -> None:
    named = {
        (path.relative_to(ROOT), name, anchor)
        for path in SOURCES
        for name, anchor in re.findall(r"docs/decisions/([a-z]+)\.md#([\w-]+)", path.read_text())
    }
    wrong = {
        (str(path), name, anchor) for path, name, anchor in named if missing_decision(name, anchor)
    }
    assert wrong == set()


def missing_decision(name: str, anchor: str) -> bool:
    return missing(ROOT / "docs" / "decisions" / f"{name}.md", anchor)


def test_anchor_that_a_page_links_to_exists() -> None:
    wrong = [
        (page.name, link)
        for page in PAGES
        for link, target, anchor in links(page)
        if missing(page if not target else page.parent / target, anchor)
    ]
    assert wrong == []


def links(page: Path) -> Iterator[tuple[str, str, str]]:
    """Each link to an anchor, with its page (empty: this one) and its anchor."""
    for link in re.findall(r"\]\(([^)\s]+#[^)\s]+)\)", without_code(page.read_text())):
        if not link.startswith("https://"):
            target, _hash, anchor = link.partition("#")
            yield link, target, anchor


def test_file_that_a_page_names_exists() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(
            r"`((?:opsapp|commands|tests|migrations)/[\w/.-]+)`", page.read_text()
        )
    }
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert len(named) > 40
