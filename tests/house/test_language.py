"""The language: rules 1 and 2 of CONTRIBUTING.md, over each set of texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import pytest

from opsapp import errors
from opsapp.jobs import runs
from tests.support import ROOT

GENERATED = {"cli.md", "settings.md"}
"""Pages that `docs/make.py` writes from the code."""
PRONOUNS = re.compile(r"\b(?:some|no|any|every)body\b|\bwhoever\b|\bwhomever\b", re.I)
QUESTION_WORD = re.compile(r"(?:What|Who|Where|Whether)\b(?!'s)")
SENTENCE_END = re.compile(r"(?<=[.!?:;])[)\"”*_`]*\s+")
Text = tuple[str, str]
"""A piece of text with the place where it stands."""


def pages() -> Iterator[Text]:
    """Each paragraph, list item and table cell of the hand-written documents."""
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        if path.name not in GENERATED:
            for text in blocks(path.read_text()):
                yield str(path.relative_to(ROOT)), text


def blocks(page: str) -> Iterator[str]:
    """The blocks of a Markdown page, without code and without the text that it copies from code."""
    page = re.sub(r"^```.*?^```$|^<!--.*?-->$", "", page, flags=re.M | re.S)
    page = re.sub(r"`[^`]*`", "`code`", page)
    page = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", page)
    for copy in COPIES:
        page = page.replace(copy, "")
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)", page):
        for cell in block.split("|") if block.lstrip().startswith("|") else [block]:
            yield re.sub(r"^\s*(?:[-*#]+|\d+\.)\s+", "", " ".join(cell.split()))


COPIES = {
    *runs.STATUSES.values(),
    *re.findall(r"\d{3}  (.+)$", errors.__doc__ or "", re.M),
}
"""Texts of the code that tests keep equal in the documents."""

ASSERTED: dict[str, Callable[[], Iterable[Text]]] = {"documents": pages}
"""The sets of texts that the rules hold for; docstrings, help and messages join by a line here."""


def sentences(text: str) -> list[str]:
    return [sentence.lstrip("*_“\"'(") for sentence in SENTENCE_END.split(text)]


@pytest.mark.parametrize("name", ASSERTED)
def test_texts_name_the_actor(name: str) -> None:
    texts = [text for text in ASSERTED[name]() if PRONOUNS.search(text[1]) and not is_rule(text)]
    assert texts == []


@pytest.mark.parametrize("name", ASSERTED)
def test_statements_begin_with_their_noun(name: str) -> None:
    wrong = [
        (place, sentence)
        for place, text in ASSERTED[name]()
        for sentence in sentences(text)
        if QUESTION_WORD.match(sentence) and not sentence.rstrip("*_)").endswith("?")
    ]
    assert wrong == []


def is_rule(text: Text) -> bool:
    """Return whether this is the rule itself, which has to name the words."""
    return text[0] == "CONTRIBUTING.md" and text[1].startswith("No *somebody")


def test_rules_find_a_breach() -> None:
    assert PRONOUNS.search("ended by somebody else")
    assert [text for text in sentences("It ends. What is left goes.") if QUESTION_WORD.match(text)]
    assert list(blocks("| 4 | Who may |\n\n- What it is\n")) == [
        "",
        "4",
        "Who may",
        "",
        "What it is",
    ]
